package quiet_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/quiet"
)

var errAway = errors.New("away")

// A failure of the store is logged when it begins and then once a minute with how many
// were left out; other messages, levels and errors are logged as they come.
func TestRepeatedFailures(t *testing.T) {
	var out bytes.Buffer
	now := time.Now()
	to := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})
	log := slog.New(quiet.New(to, errAway, func() time.Time { return now }))
	lines := func() int {
		n := strings.Count(out.String(), "\n")
		return n
	}

	cause := fmt.Errorf("database: %w", errAway)
	for range 100 {
		log.Error("it failed", "cause", cause)
		log.With("of", "another part").Error("it failed", "cause", cause)
	}
	if lines() != 1 {
		t.Errorf("the same failure:\n%s", &out)
	}

	out.Reset()
	log.Warn("it failed", "cause", cause)
	log.Error("something else failed", "cause", cause)
	for range 3 {
		log.Error("it failed", "cause", errors.New("another one"))
		log.Info("it failed", "cause", cause)
	}
	if lines() != 8 {
		t.Errorf("what differs:\n%s", &out)
	}

	out.Reset()
	now = now.Add(quiet.Every)
	log.Error("it failed", "cause", cause)
	log.Error("it failed", "cause", cause)
	if text := out.String(); lines() != 1 || !strings.Contains(text, "omitted=199") {
		t.Errorf("a minute later:\n%s", text)
	}
}

// However many messages there are, a bounded number is remembered.
func TestMessagesAreBounded(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(quiet.New(slog.NewTextHandler(&out, nil), errAway, time.Now))
	for i := range 1000 {
		log.Error(fmt.Sprint("failure ", i), "cause", errAway)
	}
	log.Error("failure 999", "cause", errAway)
	log.Error("failure 0", "cause", errAway)
	if n := strings.Count(out.String(), "\n"); n != 1001 {
		t.Errorf("%d lines: the first message was forgotten and is logged again, the last was not", n)
	}
}
