// The yardstick in Go: what a platform team would write with controller-runtime to cap a pod's containers.
// It does the capping part of our rules and nothing else: no defaults, annotations, totals or explanations.
package main

import (
	"context"
	"flag"
	"log"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// capper lowers limits and requests to the maximum of their resource.
type capper struct {
	maximum corev1.ResourceList
}

var _ admission.Defaulter[*corev1.Pod] = &capper{}

func (c *capper) Default(_ context.Context, pod *corev1.Pod) error {
	for i := range pod.Spec.InitContainers {
		c.bound(&pod.Spec.InitContainers[i].Resources)
	}
	for i := range pod.Spec.Containers {
		c.bound(&pod.Spec.Containers[i].Resources)
	}
	return nil
}

func (c *capper) bound(resources *corev1.ResourceRequirements) {
	for name, maximum := range c.maximum {
		for _, side := range []corev1.ResourceList{resources.Limits, resources.Requests} {
			if value, ok := side[name]; ok && value.Cmp(maximum) > 0 {
				side[name] = maximum
			}
		}
	}
}

func main() {
	port := flag.Int("port", 9443, "port on 127.0.0.1")
	certs := flag.String("certs", "certs", "directory of tls.crt and tls.key")
	flag.Parse()

	ctrl.SetLogger(zap.New())
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		log.Fatal(err)
	}
	maximum := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("4"),
		corev1.ResourceMemory:           resource.MustParse("8Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("20Gi"),
	}
	server := webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: *port, CertDir: *certs})
	server.Register("/mutate", admission.WithDefaulter(scheme, &capper{maximum: maximum}))
	if err := server.Start(ctrl.SetupSignalHandler()); err != nil {
		log.Fatal(err)
	}
}
