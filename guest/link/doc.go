// Package link carries sessions over a raw byte stream between host and guest (a
// virtio-serial port, a vsock or a pipe), so that a reconnect never sees a byte of
// the session before it.
//
// The host opens a session with a fresh nonce and the boot's token. The first
// token a guest sees after boot is the one it demands from then on (the channel
// is the proof: only the guest's PID 1 can open the port). Within a session,
// streams are multiplexed and carry a port number, like vsock.
package link

// AgentPort is where the guest agent's gRPC service listens.
const AgentPort = 1024
