package main

import (
	"encoding/json"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	// The defaults that the API server gives to an autoscaler.
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
)

const (
	namespace = "default"
	name      = "model"
	selector  = "app=model"

	// External metrics are named by their place in the trace.
	metricPrefix = "metric-"
)

type trace struct {
	MinReplicas int32                                          `json:"minReplicas"`
	MaxReplicas int32                                          `json:"maxReplicas"`
	Behavior    *autoscalingv2.HorizontalPodAutoscalerBehavior `json:"behavior"`
	Replicas    int32                                          `json:"replicas"`
	Metrics     []metric                                       `json:"metrics"`
	Ticks       []tick                                         `json:"ticks"`
}

type metric struct {
	TargetMilli int64 `json:"targetMilli"`
	Average     bool  `json:"average"`
}

type tick struct {
	Milliseconds   int64    `json:"milliseconds"`
	Values         []*int64 `json:"values"`
	Replicas       *int32   `json:"replicas"`
	StatusReplicas *int32   `json:"statusReplicas"`
	ReadyPods      *int32   `json:"readyPods"`
}

type answer struct {
	Ticks []outcome `json:"ticks,omitempty"`
	Error string    `json:"error,omitempty"`
}

type outcome struct {
	Replicas       int32  `json:"replicas"`
	Proposal       *int32 `json:"proposal,omitempty"`
	AbleToScale    string `json:"ableToScale"`
	ScalingActive  string `json:"scalingActive"`
	ScalingLimited string `json:"scalingLimited"`
}

// autoscaler is the object as the API server would hand it out: with its defaults, and with its
// quantities in their canonical form, because the float made of one depends on how it is written.
func (asked *trace) autoscaler() (*autoscalingv2.HorizontalPodAutoscaler, error) {
	hpa := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			MinReplicas:    &asked.MinReplicas,
			MaxReplicas:    asked.MaxReplicas,
			Behavior:       asked.Behavior,
		},
	}
	for index, each := range asked.Metrics {
		target := autoscalingv2.MetricTarget{}
		quantity := resource.NewMilliQuantity(each.TargetMilli, resource.DecimalSI)
		if each.Average {
			target.Type, target.AverageValue = autoscalingv2.AverageValueMetricType, quantity
		} else {
			target.Type, target.Value = autoscalingv2.ValueMetricType, quantity
		}
		hpa.Spec.Metrics = append(hpa.Spec.Metrics, autoscalingv2.MetricSpec{
			Type: autoscalingv2.ExternalMetricSourceType,
			External: &autoscalingv2.ExternalMetricSource{
				Metric: autoscalingv2.MetricIdentifier{Name: metricName(index)},
				Target: target,
			},
		})
	}
	legacyscheme.Scheme.Default(hpa)
	stored, err := json.Marshal(hpa)
	if err != nil {
		return nil, err
	}
	handedOut := &autoscalingv2.HorizontalPodAutoscaler{}
	return handedOut, json.Unmarshal(stored, handedOut)
}

func metricName(index int) string { return fmt.Sprintf("%s%d", metricPrefix, index) }

// pods are those that the target's selector finds.
func pods(existing, ready int32) []*corev1.Pod {
	found := make([]*corev1.Pod, 0, existing)
	for index := range existing {
		status := corev1.ConditionFalse
		if index < ready {
			status = corev1.ConditionTrue
		}
		found = append(found, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace,
				Name:      fmt.Sprintf("%s-%d", name, index),
				Labels:    map[string]string{"app": "model"},
			},
			Status: corev1.PodStatus{
				Phase:      corev1.PodRunning,
				Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}},
			},
		})
	}
	return found
}
