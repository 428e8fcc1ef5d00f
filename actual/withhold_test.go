package actual

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestWithhold(t *testing.T) {
	c := &schema.Container{Env: []schema.EnvVar{
		{Name: "PART", Hidden: schema.Hide("s3cret")}, {Name: "WHOLE", Value: "/bin/$(PART)"},
		{Name: "SHORT", Hidden: schema.Hide("x")}, {Name: "PLAIN", Value: "exec"},
	}}
	said := fromAgent(t.Context(), status.Error(codes.Internal, "exec /bin/s3cret: not found; s3cret x"))
	err := withhold(said, c, facts{})
	if err.Error() != "exec <hidden>: not found; <hidden> x" && err.Error() != "exec /bin/<hidden>: not found; <hidden> x" {
		t.Errorf("it says %q", err)
	}
	if status.Code(errors.Unwrap(err)) != codes.Internal {
		t.Errorf("the cause is %v", errors.Unwrap(err))
	}
	plain := errors.New("s3cret")
	if got := withhold(plain, c, facts{}); !errors.Is(got, plain) {
		t.Errorf("an error of another kind became %v", got)
	}
}
