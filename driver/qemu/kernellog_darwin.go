package qemu

// kernelLog: macOS' does not tell.
func kernelLog() string { return "" }
