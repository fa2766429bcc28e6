package server

import (
	"errors"
	"fmt"
)

// Complaint is one thing that keeps a destination from starting, and the
// remedy. Check joins all of them into one error.
type Complaint struct {
	Problem string
	Remedy  string
}

func (c *Complaint) Error() string { return c.Problem }

// Hint is the remedy, one line.
func (c *Complaint) Hint() string { return c.Remedy }

// complaints gathers what is wrong with a configuration.
type complaints []error

func (cs *complaints) add(remedy, format string, args ...any) {
	*cs = append(*cs, &Complaint{Problem: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (cs complaints) err() error { return errors.Join(cs...) }
