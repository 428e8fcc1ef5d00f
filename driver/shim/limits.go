package shim

import "time"

// Bounds of what a guest or a client can make a shim (or a client of one) hold.
const (
	// maxMessage bounds a gRPC message, maxHeaders the headers of a call; the guest
	// agent has the same.
	maxMessage = 4 << 20
	maxHeaders = 64 << 10
	// maxStreams bounds the calls of one client at a time.
	maxStreams = 1024
	// ioBuffer is the size of gRPC's buffers per connection: there is one shim per machine.
	ioBuffer = 8 << 10
)

// Limits of time.
const (
	// bootLimit bounds a boot, to the agent's first answer.
	bootLimit = 3 * time.Minute
	// openLimit bounds one try to open a session over a link that was lost.
	openLimit = 20 * time.Second
	// callLimit bounds the shim's own calls of the agent.
	callLimit = 10 * time.Second
	// sessionPatience is how long a call waits for a lost session to come back.
	sessionPatience = 2 * time.Second
	// termGrace is what containers get when the shim itself is told to end (host shutdown).
	termGrace = 10 * time.Second
	// powerOffLimit is what the agent gets beyond its containers' grace.
	powerOffLimit = 20 * time.Second
	// deathLimit bounds how long a killed VMM takes to be gone.
	deathLimit = 10 * time.Second
	// replyLimit bounds how long the last replies of a shim take to go out.
	replyLimit = time.Second
	// agentPing and agentPingLimit find a link that died silently; the agent
	// refuses more than one ping in 5 s.
	agentPing      = 10 * time.Second
	agentPingLimit = 10 * time.Second
)
