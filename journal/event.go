// Package journal keeps what happened to pods as JSON lines in a bounded file, for
// people and tools to read later, while a reconciler runs or not.
package journal

import "time"

// Type tells a notice from something to look at; the values are Kubernetes'.
type Type string

// The types of an Event.
const (
	Normal  Type = "Normal"
	Warning Type = "Warning"
)

// Event is one thing that happened.
type Event struct {
	Time time.Time `json:"time"`
	Type Type      `json:"type"`
	// Reason is one CamelCase word for tools ("Started", "ErrImagePull").
	Reason string `json:"reason"`
	// Pod is "namespace/name", "" when the event is about the host.
	Pod string `json:"pod,omitempty"`
	// Object is what of the pod it is about: "pod", "container/web", "emptyDir/cache".
	Object  string `json:"object,omitempty"`
	Message string `json:"message"`
	// Commit is the git commit of the manifest, "" outside a checkout.
	Commit string `json:"commit,omitempty"`
	// Count is how often the writer has recorded this very event in a row for the
	// object, from 1.
	Count int `json:"count"`
}

// same tells whether two events say the same thing at different times.
func (e *Event) same(o *Event) bool {
	return e.Type == o.Type && e.Reason == o.Reason && e.Message == o.Message && e.Commit == o.Commit
}

// object identifies what the event is about.
func (e *Event) object() string { return e.Pod + "\x00" + e.Object }
