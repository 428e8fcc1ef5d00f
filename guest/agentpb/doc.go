// Package agentpb is the wire contract of the guest agent, generated from agent.proto.
package agentpb

//go:generate protoc -I . --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative agent.proto
