package actual

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func seconds[N int32 | int64](n N) *durationpb.Duration {
	return durationpb.New(time.Duration(n) * time.Second)
}

// probe is a probe as the agent takes it; references to vars are replaced in its command.
func probe(p *schema.Probe, vars map[string]string) *agentpb.Probe {
	if p == nil {
		return nil
	}
	h := p.Handler
	h.Exec = expandAll(h.Exec, vars)
	out := &agentpb.Probe{
		Handler:          handler(&h),
		InitialDelay:     seconds(p.InitialDelaySeconds),
		Timeout:          seconds(p.TimeoutSeconds),
		Period:           seconds(p.PeriodSeconds),
		SuccessThreshold: uint32(p.SuccessThreshold),
		FailureThreshold: uint32(p.FailureThreshold),
	}
	if p.GraceSeconds != nil {
		out.Grace = seconds(*p.GraceSeconds)
	}
	return out
}

func handler(h *schema.Handler) *agentpb.Handler {
	switch {
	case h == nil:
		return nil
	case h.HTTP != nil:
		get := &agentpb.HTTPGetAction{Host: h.HTTP.Host, Port: uint32(h.HTTP.Port), Path: h.HTTP.Path, Https: h.HTTP.Scheme == "HTTPS"}
		for _, header := range h.HTTP.Headers {
			get.Headers = append(get.Headers, &agentpb.HTTPHeader{Name: header.Name, Value: header.Value})
		}
		return &agentpb.Handler{Action: &agentpb.Handler_HttpGet{HttpGet: get}}
	case h.TCP != nil:
		return &agentpb.Handler{Action: &agentpb.Handler_TcpSocket{TcpSocket: &agentpb.TCPSocketAction{Host: h.TCP.Host, Port: uint32(h.TCP.Port)}}}
	case h.GRPC != nil:
		return &agentpb.Handler{Action: &agentpb.Handler_Grpc{Grpc: &agentpb.GRPCAction{Port: uint32(h.GRPC.Port), Service: h.GRPC.Service}}}
	case h.SleepSeconds != nil:
		return &agentpb.Handler{Action: &agentpb.Handler_Sleep{Sleep: seconds(*h.SleepSeconds)}}
	default:
		return &agentpb.Handler{Action: &agentpb.Handler_Exec{Exec: &agentpb.ExecAction{Argv: h.Exec}}}
	}
}
