package fhir

import (
	"fhirdest.example/fhir/tree"
)

// judge holds a resource against R4's definitions; nil when it may be stored.
func (s *service) judge(root *tree.Value, conditional bool) *failure { return nil }

// issues lists what is wrong with a resource, warnings included.
func (s *service) issues(root *tree.Value, conditional bool) []issue { return nil }
