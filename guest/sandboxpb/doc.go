// Package sandboxpb is the wire contract com.apple.containerization.sandbox.v3 that the guest
// serves beside its own, generated from sandbox.proto.
package sandboxpb

//go:generate protoc -I . --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative sandbox.proto
