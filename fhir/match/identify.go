package match

import "strings"

// Half points of identifiers that agree: records' own ones say who it is; those
// that others gave need a name beside them.
const (
	forRecord   = 36
	forOfficial = 24
	forOther    = 20
	forUntyped  = 12
	forLastFour = 4
)

// compareIdentifiers gives the points of the best identifier that agrees, less
// those of the contradictions; known reports whether one agrees that is a person's
// own.
func compareIdentifiers(input, candidate []identifier) (points int, known bool) {
	best, against := 0, 0
	for _, a := range input {
		contradicted := 0
		met := false
		for _, b := range candidate {
			n := agreement(a, b)
			best = max(best, n)
			met = met || n > 0
			if n == 0 {
				contradicted = max(contradicted, contradiction(a, b))
			}
		}

		if !met {
			against = max(against, contradicted)
		}
	}

	return best - against, best >= forOther
}

// agreement gives the points of two identifiers.
func agreement(a, b identifier) int {
	if a.is("SS", "SB") && b.is("SS", "SB") && len(a.plain) == 4 && strings.HasSuffix(b.plain, a.plain) &&
		len(b.plain) > 4 {
		return forLastFour
	}
	if a.plain != b.plain {
		return 0
	}

	sameSystem := a.system != "" && a.system == b.system
	sameType := b.is(a.codes...)
	switch {
	case a.system != "" && b.system != "" && !sameSystem:
		return 0
	case sameSystem && (b.is("MR", "MRN", "MRT", "PI", "MPI") || b.system == identity):
		return forRecord
	case (sameSystem || sameType) && b.is("PPN", "DL", "STID", "MB", "MC", "NIIP-M"):
		return forOfficial
	case sameSystem || sameType:
		return forOther
	}

	return forUntyped
}

// contradiction gives the points that two identifiers of one kind and different
// values cost. A person has one social security number; of others people have
// several.
func contradiction(a, b identifier) int {
	if a.system == "" || a.system != b.system {
		return 0
	}
	if a.is("SS") && b.is("SS") {
		return 12
	}
	return 4
}
