package main

import (
	"context"
	"fmt"
	"sync"
	"testing/synctest"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"
)

// The controller manager's flags at their defaults.
const (
	informerResync                = 12 * time.Hour
	syncPeriod                    = 15 * time.Second
	downscaleStabilizationWindow  = 5 * time.Minute
	tolerance                     = 0.1
	cpuInitializationPeriod       = 5 * time.Minute
	delayOfInitialReadinessStatus = 30 * time.Second
)

// run lets a fresh controller live through the trace. It must be called inside a synctest bubble.
func run(parent context.Context, asked *trace) ([]outcome, error) {
	if err := check(asked); err != nil {
		return nil, err
	}
	hpa, err := asked.autoscaler()
	if err != nil {
		return nil, err
	}
	target := &world{replicas: asked.Replicas, passes: make(chan struct{})}
	ctx, stop := context.WithCancel(klog.NewContext(parent, target.logger()))
	// The newer fake.NewClientset tracks managed fields, which costs ten times the rest of a pass.
	client := fake.NewSimpleClientset(hpa)
	factory := informers.NewSharedInformerFactory(client, informerResync)
	podInformer := factory.Core().V1().Pods()
	apps := schema.GroupVersion{Group: "apps", Version: "v1"}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{apps})
	mapper.Add(apps.WithKind("Deployment"), meta.RESTScopeNamespace)
	controller := podautoscaler.NewHorizontalController(
		ctx,
		(&fake.Clientset{}).CoreV1(), // events are thrown away
		target,
		client.AutoscalingV2(),
		mapper,
		target,
		factory.Autoscaling().V2().HorizontalPodAutoscalers(),
		podInformer,
		syncPeriod,
		downscaleStabilizationWindow,
		tolerance,
		cpuInitializationPeriod,
		delayOfInitialReadinessStatus,
	)
	var running sync.WaitGroup
	defer func() {
		stop()
		running.Wait()
		factory.Shutdown()
	}()
	started := time.Now()
	factory.Start(ctx.Done())
	running.Go(func() { controller.Run(ctx, 1) })

	outcomes := make([]outcome, 0, len(asked.Ticks))
	for index, each := range asked.Ticks {
		due := started.Add(time.Duration(each.Milliseconds) * time.Millisecond)
		target.expect(due)
		time.Sleep(time.Until(due))
		if err := target.become(each, podInformer.Informer().GetIndexer()); err != nil {
			return nil, err
		}
		// Its pass has begun, and waits in world.Get.
		synctest.Wait()
		select {
		case target.passes <- struct{}{}:
		default:
			return nil, fmt.Errorf("tick %d: the controller makes no pass", index)
		}
		synctest.Wait()
		hpa, err := client.AutoscalingV2().HorizontalPodAutoscalers(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, target.outcome(hpa))
	}
	return outcomes, nil
}

// check refuses what the controller could not be led through.
func check(asked *trace) error {
	var before int64
	for index, each := range asked.Ticks {
		if gap := each.Milliseconds - before; gap < syncPeriod.Milliseconds() {
			return fmt.Errorf("tick %d comes %d ms after the one before, or the start: at least %v must pass",
				index, gap, syncPeriod)
		}
		before = each.Milliseconds
		if len(each.Values) != len(asked.Metrics) {
			return fmt.Errorf("tick %d has %d values for %d metrics", index, len(each.Values), len(asked.Metrics))
		}
	}
	return nil
}

func (target *world) outcome(hpa *autoscalingv2.HorizontalPodAutoscaler) outcome {
	target.lock.Lock()
	defer target.lock.Unlock()
	found := outcome{Replicas: target.replicas, Proposal: target.proposal}
	for _, each := range hpa.Status.Conditions {
		switch each.Type {
		case autoscalingv2.AbleToScale:
			found.AbleToScale = each.Reason
		case autoscalingv2.ScalingActive:
			found.ScalingActive = each.Reason
		case autoscalingv2.ScalingLimited:
			found.ScalingLimited = each.Reason
		}
	}
	return found
}

func (target *world) expect(due time.Time) {
	target.lock.Lock()
	defer target.lock.Unlock()
	target.due = due
}

// become sets what the controller finds at its next pass.
func (target *world) become(now tick, indexer cache.Indexer) error {
	target.lock.Lock()
	defer target.lock.Unlock()
	if now.Replicas != nil {
		target.replicas = *now.Replicas
	}
	target.existing = target.replicas
	if now.StatusReplicas != nil {
		target.existing = *now.StatusReplicas
	}
	ready := target.existing
	if now.ReadyPods != nil {
		ready = *now.ReadyPods
	}
	target.values, target.proposal = now.Values, nil
	found := make([]any, 0, target.existing)
	for _, each := range pods(target.existing, ready) {
		found = append(found, each)
	}
	// Not through the API: the lister that the controller asks reads this very store.
	return indexer.Replace(found, "")
}
