package actual

import (
	"cmp"
	"errors"
	"time"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Reasons of failures, in Kubernetes' words where it has one.
const (
	reasonBoot            = "BootFailed"
	reasonCreateContainer = "CreateContainerError"
	reasonEmptyDir        = "CreateVolumeError"
	reasonTrim            = "TrimFailed"
)

// restartReset is how long a machine must be up for its earlier failures to count no
// more, as Kubernetes forgets those of a container after a run of 10 minutes.
const restartReset = 10 * time.Minute

// forgetAfter is how long the failures of a pod that has no machine are kept. One that is
// still wanted is tried, and fails, far more often; what is older is of a pod that no
// manifest asks for any more.
const forgetAfter = 24 * time.Hour

// death is the failure of a machine that ended by itself.
func death(pod *schema.Pod, info driver.Info) schema.Failure {
	return schema.Failure{
		Kind:    string(reconcile.KindPod),
		Name:    pod.Name,
		Digest:  pod.VMDigest(),
		At:      time.Now(),
		Reason:  schema.ReasonMachineDied,
		Message: cmp.Or(info.Message, "its VM died"),
	}
}

func ofTrim(f schema.Failure) bool {
	return f.Kind == string(reconcile.KindPod) && f.Reason == reasonTrim
}

// ofBoot: the failure is one of having a machine at all.
func ofBoot(f schema.Failure) bool {
	return f.Kind == string(reconcile.KindPod) && f.Reason != reasonTrim && f.Reason != schema.ReasonRemoveFailed
}

// failureOf turns a failed action into what is remembered of it.
func failureOf(a reconcile.Action, err error) schema.Failure {
	return schema.Failure{
		Kind:    string(a.Kind),
		Name:    a.Name,
		Digest:  digestOf(a),
		At:      time.Now(),
		Reason:  reasonOf(a, err),
		Message: clean(err.Error()),
	}
}

func digestOf(a reconcile.Action) string {
	if a.Spec == nil {
		return ""
	}
	switch a.Kind {
	case reconcile.KindPod:
		return a.Spec.VMDigest()
	case reconcile.KindContainer:
		if c := a.Spec.Container(a.Name); c != nil {
			return c.Digest()
		}
	case reconcile.KindEmptyDir:
		if e := a.Spec.EmptyDir(a.Name); e != nil {
			return e.Digest()
		}
	}
	return ""
}

func reasonOf(a reconcile.Action, err error) string {
	if pull, ok := errors.AsType[*image.PullError](err); ok {
		return string(pull.Reason)
	}
	switch {
	case a.Type == reconcile.Remove:
		return schema.ReasonRemoveFailed
	case a.Type == reconcile.Trim:
		return reasonTrim
	case a.Kind == reconcile.KindContainer:
		return reasonCreateContainer
	case a.Kind == reconcile.KindEmptyDir:
		return reasonEmptyDir
	default:
		return reasonBoot
	}
}
