package wire

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
)

// The PROXY protocol, version 2 (haproxy.org, proxy-protocol.txt, section 2.2).
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyLocal     = 0x20
	proxyProxy     = 0x21
	proxyTCP4      = 0x11
	proxyTCP6      = 0x21
	maxProxy       = 1 << 10 // of addresses and TLVs that are read, in bytes
)

var errProxy = errors.New("wire: no PROXY protocol v2 header where one must stand")

// AppendProxy appends the header of a connection from src to dst, over TCP; from no valid
// src, that of a connection of the sender's own (LOCAL).
func AppendProxy(b []byte, src, dst netip.AddrPort) []byte {
	b = append(b, proxySignature...)
	if !src.IsValid() {
		return append(b, proxyLocal, 0, 0, 0)
	}

	s, d := src.Addr().Unmap(), dst.Addr().Unmap()
	if s.Is4() && d.Is4() {
		b = append(b, proxyProxy, proxyTCP4, 0, 12)
		b = append(append(b, s.AsSlice()...), d.AsSlice()...)
	} else {
		s6, d6 := s.As16(), d.As16()
		b = append(b, proxyProxy, proxyTCP6, 0, 36)
		b = append(append(b, s6[:]...), d6[:]...)
	}

	b = binary.BigEndian.AppendUint16(b, src.Port())
	return binary.BigEndian.AppendUint16(b, dst.Port())
}

// ReadProxy reads one header from r, not a byte more, and returns the source that it
// names, or nil when it names none (LOCAL, or a family that is not TCP).
func ReadProxy(r io.Reader) (*net.TCPAddr, error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}

	length := int(binary.BigEndian.Uint16(head[14:]))
	if string(head[:12]) != proxySignature || length > maxProxy {
		return nil, errProxy
	}

	rest := make([]byte, length)
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, err
	}

	switch {
	case head[12] == proxyLocal:
		return nil, nil
	case head[12] != proxyProxy:
		return nil, errProxy
	}

	return proxySource(head[13], rest)
}

func proxySource(family byte, b []byte) (*net.TCPAddr, error) {
	switch {
	case family == proxyTCP4 && len(b) >= 12:
		return &net.TCPAddr{
			IP:   net.IP(b[:4]),
			Port: int(binary.BigEndian.Uint16(b[8:])),
		}, nil

	case family == proxyTCP6 && len(b) >= 36:
		return &net.TCPAddr{
			IP:   net.IP(b[:16]),
			Port: int(binary.BigEndian.Uint16(b[32:])),
		}, nil

	case family == proxyTCP4 || family == proxyTCP6:
		return nil, errProxy
	}

	return nil, nil
}
