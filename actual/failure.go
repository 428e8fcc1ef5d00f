package actual

import (
	"errors"
	"time"

	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Reasons of failures, in Kubernetes' words where it has one.
const (
	reasonBoot            = "BootFailed"
	reasonCreateContainer = "CreateContainerError"
	reasonEmptyDir        = "CreateVolumeError"
	reasonRemove          = "RemoveFailed"
	reasonTrim            = "TrimFailed"
)

// failureOf turns a failed action into what is remembered of it.
func failureOf(a reconcile.Action, err error) schema.Failure {
	return schema.Failure{
		Kind:    string(a.Kind),
		Name:    a.Name,
		Digest:  digestOf(a),
		At:      time.Now(),
		Reason:  reasonOf(a, err),
		Message: messageOf(err),
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
		return reasonRemove
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

// messageOf is the error in words; of a gRPC error the code is dropped, which says
// nothing to a user.
func messageOf(err error) string {
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}
