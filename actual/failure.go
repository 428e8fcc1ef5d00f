package actual

import (
	"cmp"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
	"github.com/firkin-dev/firkin-reconcile/volume"
)

// Reasons of failures, in Kubernetes' words where it has one.
const (
	reasonBoot            = "BootFailed"
	reasonCreateContainer = "CreateContainerError"
	// reasonConfig: the manifest asks for what cannot be had. reasonRun: the container was
	// made and did not start, or its postStart hook failed.
	reasonConfig   = "CreateContainerConfigError"
	reasonRun      = "RunContainerError"
	reasonMount    = "FailedMount"
	reasonAttach   = "FailedAttachVolume"
	reasonEmptyDir = "CreateVolumeError"
	reasonTrim     = "TrimFailed"
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
	return f.Kind == string(reconcile.KindPod) && f.Reason != reasonTrim && !f.OfRemoval()
}

// failureOf turns a failed action into what is remembered of it.
func failureOf(a reconcile.Action, err error) schema.Failure {
	return schema.Failure{
		Kind:    string(a.Kind),
		Name:    a.Name,
		Digest:  digestOf(a),
		At:      time.Now(),
		Reason:  Reason(a, err),
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
	case reconcile.KindVolume:
		if v := a.Spec.Volume(a.Name); v != nil {
			return v.Digest()
		}
	}
	return ""
}

// Reason is one word for why an action failed, in Kubernetes' words where it has one.
func Reason(a reconcile.Action, err error) string {
	if pull, ok := errors.AsType[*image.PullError](err); ok {
		return string(pull.Reason)
	}
	if _, ok := errors.AsType[*volume.InUseError](err); ok || errors.Is(err, errNoClaims) {
		return reasonAttach
	}
	switch {
	case a.Type == reconcile.Remove:
		return schema.ReasonRemoveFailed
	case a.Type == reconcile.Trim:
		return reasonTrim
	case a.Kind == reconcile.KindContainer:
		return containerReason(err)
	case a.Kind == reconcile.KindVolume, errors.Is(err, ErrHostPath):
		return reasonMount
	case a.Kind == reconcile.KindEmptyDir:
		return reasonEmptyDir
	default:
		return reasonBoot
	}
}

// containerReason tells a container that cannot be made as it is written from one that
// does not start.
func containerReason(err error) string {
	if errors.Is(err, ErrConfig) {
		return reasonConfig
	}
	agent, ok := errors.AsType[*agentError](err)
	if !ok || errors.Is(err, errSend) {
		return reasonCreateContainer
	}
	switch status.Code(agent.err) {
	case codes.InvalidArgument, codes.FailedPrecondition:
		return reasonConfig
	case codes.Internal, codes.Unknown:
		return reasonRun
	default:
		return reasonCreateContainer
	}
}
