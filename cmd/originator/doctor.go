package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fhirdest.example/udap/fetch"
)

// doctor examines both sides and lists what is wrong; nothing is registered.
func doctor(ctx context.Context, c *call) error {
	c.out.result.Command = c.command
	cl, err := c.open()
	if err != nil {
		return err
	}
	defer cl.Close()

	r := cl.Doctor(ctx)
	c.out.result.Outcome = r
	c.out.trace(r.Trace)
	c.showCRLs()
	if r.Wrong > 0 {
		return errors.New(diagnosis(r.Wrong, r.Doubtful))
	}

	c.out.say("%s", diagnosis(r.Wrong, r.Doubtful))
	return c.out.done()
}

func diagnosis(wrong, doubtful int) string {
	if wrong+doubtful == 0 {
		return "nothing is wrong"
	}
	return fmt.Sprintf("%d wrong, %d doubtful", wrong, doubtful)
}

// showCRLs prints the state of each CRL that was needed.
func (c *call) showCRLs() {
	c.out.result.Lists = c.lists.State()
	for _, l := range c.out.result.Lists {
		c.out.say("list     %s: %s", l.Place, standing(l))
	}
}

func standing(l fetch.State) string {
	switch {
	case !l.Usable && l.Number == "":
		return "not to be had: " + l.Error
	case !l.Usable:
		return fmt.Sprintf("number %s ran out on %s: %s", l.Number, l.NextUpdate.Format(time.RFC3339), l.Error)
	}

	text := fmt.Sprintf("number %s of %s, until %s, %d entries", l.Number, l.ThisUpdate.Format(time.RFC3339),
		l.NextUpdate.Format(time.RFC3339), l.Entries)
	if l.Expiring {
		text += ", runs out soon"
	}

	return text
}
