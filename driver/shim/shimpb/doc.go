// Package shimpb is the wire contract of a machine's shim, generated from shim.proto.
package shimpb

//go:generate protoc -I . --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative shim.proto
