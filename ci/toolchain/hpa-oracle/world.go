package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/scale"
	metricsclient "k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
)

var (
	errUnasked = errors.New("no trace asks for this")
	errNotNow  = errors.New("no tick is due")
)

// world is all that the controller reads and writes besides its own object: the target's scale, the
// metrics, and a log.
type world struct {
	passes chan struct{}

	lock     sync.Mutex
	due      time.Time
	replicas int32
	existing int32
	values   []*int64
	proposal *int32
}

// Scales makes world a scale.ScalesGetter of one target.
func (target *world) Scales(string) scale.ScaleInterface { return target }

// Get is the first thing that a pass does: it waits there until its tick has come. A pass before the
// last one in time for the tick fails, which leaves nothing in the controller's memory; were it to wait,
// the pass after the tick would begin at once, with an object from before.
func (target *world) Get(ctx context.Context, _ schema.GroupResource, _ string, _ metav1.GetOptions) (*autoscalingv1.Scale, error) {
	target.lock.Lock()
	wait := time.Until(target.due)
	target.lock.Unlock()
	if wait >= syncPeriod {
		return nil, errNotNow
	}
	select {
	case <-target.passes:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	target.lock.Lock()
	defer target.lock.Unlock()
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       autoscalingv1.ScaleSpec{Replicas: target.replicas},
		Status:     autoscalingv1.ScaleStatus{Replicas: target.existing, Selector: selector},
	}, nil
}

// Update takes the controller's decision.
func (target *world) Update(_ context.Context, _ schema.GroupResource, wanted *autoscalingv1.Scale, _ metav1.UpdateOptions) (*autoscalingv1.Scale, error) {
	target.lock.Lock()
	defer target.lock.Unlock()
	target.replicas = wanted.Spec.Replicas
	return wanted, nil
}

func (target *world) Patch(context.Context, schema.GroupVersionResource, string, types.PatchType, []byte, metav1.PatchOptions) (*autoscalingv1.Scale, error) {
	return nil, errUnasked
}

func (target *world) GetExternalMetric(asked, _ string, _ labels.Selector) ([]int64, time.Time, error) {
	index, err := strconv.Atoi(strings.TrimPrefix(asked, metricPrefix))
	if err != nil {
		return nil, time.Time{}, err
	}
	target.lock.Lock()
	defer target.lock.Unlock()
	value := target.values[index]
	if value == nil {
		return nil, time.Time{}, errors.New("the trace says that reading fails")
	}
	return []int64{*value}, time.Now(), nil
}

func (target *world) GetResourceMetric(context.Context, corev1.ResourceName, string, labels.Selector, string) (metricsclient.PodMetricsInfo, time.Time, error) {
	return nil, time.Time{}, errUnasked
}

func (target *world) GetRawMetric(string, string, labels.Selector, labels.Selector) (metricsclient.PodMetricsInfo, time.Time, error) {
	return nil, time.Time{}, errUnasked
}

func (target *world) GetObjectMetric(string, string, *autoscalingv2.CrossVersionObjectReference, labels.Selector) (int64, time.Time, error) {
	return 0, time.Time{}, errUnasked
}

// logger is silent, but keeps the proposal, which the controller tells to nobody else.
func (target *world) logger() logr.Logger { return logr.New(proposals{target}) }

type proposals struct{ target *world }

func (proposals) Init(logr.RuntimeInfo) {}

func (proposals) Enabled(int) bool { return true }

func (sink proposals) Info(_ int, message string, keysAndValues ...any) {
	if message != "Proposing desired replicas" {
		return
	}
	for index := 0; index+1 < len(keysAndValues); index += 2 {
		if replicas, ok := keysAndValues[index+1].(int32); ok && keysAndValues[index] == "desiredReplicas" {
			sink.target.lock.Lock()
			sink.target.proposal = &replicas
			sink.target.lock.Unlock()
		}
	}
}

func (proposals) Error(error, string, ...any) {}

func (sink proposals) WithValues(...any) logr.LogSink { return sink }

func (sink proposals) WithName(string) logr.LogSink { return sink }
