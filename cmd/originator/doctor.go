package main

import (
	"context"
	"errors"
	"fmt"
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
