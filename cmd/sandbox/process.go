package main

import (
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// gatewayPath is the package path of the gateway program.
const gatewayPath = "fhirdest.example/cmd/gateway"

// programsAt is programAt for several addresses: all of them, or the first reason.
func programsAt(addresses ...string) (programs []string, reason string) {
	for _, a := range addresses {
		p, reason := programAt(a)
		if p == "" {
			return nil, reason
		}
		programs = append(programs, p)
	}
	return programs, ""
}

// programAt finds the binary of the gateway program that listens at an address
// of this machine, or says why there is none to read. It asks Linux's /proc.
func programAt(address string) (program, reason string) {
	exe := listenerBinary(address)
	if exe == "" {
		return "", "the program that listens at " + address + " cannot be found here"
	}

	info, err := buildinfo.ReadFile(exe)
	if err != nil || info.Path != gatewayPath {
		return "", fmt.Sprintf("%s is served by %s, which is not the gateway program", address,
			filepath.Base(exe))
	}

	return exe, ""
}

func listenerBinary(address string) string {
	if process := listenerProcess(address); process != "" {
		return filepath.Join(process, "exe")
	}
	return ""
}

// listenerProcess is the directory under /proc of the process that listens.
func listenerProcess(address string) string {
	socket := listeningSocket(address)
	if socket == "" {
		return ""
	}

	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is well-formed
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == socket {
			return filepath.Dir(filepath.Dir(link))
		}
	}

	return ""
}

// listeningSocket is what a file descriptor of the listener links to:
// "socket:[INODE]", by /proc/net/tcp.
func listeningSocket(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}

	n, err := strconv.Atoi(port)
	if err != nil {
		return ""
	}

	want := fmt.Sprintf("%s:%04X", procIP(host), n)
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return ""
	}

	const listening = "0A"
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 9 && f[1] == want && f[3] == listening {
			return "socket:[" + f[9] + "]"
		}
	}

	return ""
}

// procIP writes an IPv4 address as /proc/net/tcp does: the four bytes reversed,
// in hex.
func procIP(host string) string {
	ip := net.ParseIP(host).To4()
	if ip == nil {
		return "00000000"
	}
	b := slices.Clone([]byte(ip))
	slices.Reverse(b)
	return strings.ToUpper(hex.EncodeToString(b))
}
