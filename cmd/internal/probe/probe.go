// Package probe asks a running program of ours whether it is ready, so that an
// image without a shell can have a health check.
package probe

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"fhirdest.example/gateway/complaint"
)

// patience is how long an answer may take.
const patience = 5 * time.Second

// mostText bounds what is printed of an answer.
const mostText = 1 << 10

// Ready asks for /ready at the first address that is not empty, and prints the
// answer. It returns 0 when the program is ready, 1 when it is not or does not answer,
// and 2 when there is no address, each but the first with a line on stderr.
func Ready(ctx context.Context, stdout, stderr io.Writer, addresses ...string) int {
	address := first(addresses)
	if address == "" {
		complaint.Print(stderr, complaint.New(
			"the configuration has no address to ask",
			"write admin: {health: 127.0.0.1:PORT}",
		))
		return 2
	}

	text, err := ask(ctx, "http://"+address+"/ready")
	if err != nil {
		fmt.Fprintf(stderr, "not ready: %v\n", err)
		return 1
	}
	fmt.Fprintln(stdout, text)
	return 0
}

// ask returns the text of an answer with status 200.
func ask(ctx context.Context, url string) (string, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}

	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, mostText))
	if err != nil {
		return "", err
	}

	text := strings.TrimSpace(string(body))
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", answer.Status, text)
	}
	return text, nil
}

// first returns the first address that is not empty, on the loopback interface when
// it is that of every interface.
func first(addresses []string) string {
	for _, a := range addresses {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			continue
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "localhost"
		}
		return net.JoinHostPort(host, port)
	}
	return ""
}
