package consents

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
)

// Keeper is the store of an authorization server, and keeps the Consents of its
// grants. All fields are required.
type Keeper struct {
	oauth.Store
	Resources fhir.Store
	Service   func() *fhir.Service // writes Consents; nil before it is there
	// Forget makes the server ask a person again who is remembered to have agreed.
	Forget        func(ctx context.Context, subject string, client trace.ClientID) error
	Issuer        string
	TokenLifetime time.Duration
	Now           func() time.Time
	Log           *slog.Logger
}

// Approve implements oauth.GrantStore.
func (k *Keeper) Approve(ctx context.Context, g oauth.Grant, seen *oauth.Registration) error {
	patient := patientOf(&g)
	if patient == "" {
		return k.Store.Approve(ctx, g, seen)
	}

	g.Consent = resourcePrefix + string(g.ID)
	if err := k.Store.Approve(ctx, g, seen); err != nil {
		return err
	}
	return k.store(ctx, &g, patient)
}

// store stores the Consent of a grant.
func (k *Keeper) store(ctx context.Context, g *oauth.Grant, patient string) error {
	body, err := k.consentOf(g, patient)
	if err != nil {
		return err
	}
	return k.do(ctx, g, http.MethodPut, g.Consent, "application/fhir+json", body)
}

// Withdraw implements oauth.GrantStore.
func (k *Keeper) Withdraw(ctx context.Context, id oauth.GrantID, subject string) error {
	g, err := k.Store.Grant(ctx, id)
	if err != nil {
		return err
	}
	if g != nil && g.Person.Subject == subject {
		if err := k.deactivate(ctx, g); err != nil {
			return err
		}
	}
	return k.Store.Withdraw(ctx, id, subject)
}

// Narrow implements oauth.GrantStore.
func (k *Keeper) Narrow(ctx context.Context, id oauth.GrantID, subject string, scope []string) error {
	g, err := k.Store.Grant(ctx, id)
	if err != nil {
		return err
	}
	if g != nil && g.Person.Subject == subject && g.Consent != "" {
		next := *g
		next.Scope = scope
		if patient := patientOf(&next); patient == "" {
			err = k.deactivate(ctx, g)
		} else if active, failed := k.Active(ctx, g); active || failed != nil {
			err = errors.Join(failed, k.store(ctx, &next, patient))
		}
		if err != nil {
			return err
		}
	}
	return k.Store.Narrow(ctx, id, subject, scope)
}

// EndSession implements oauth.GrantStore.
func (k *Keeper) EndSession(ctx context.Context, subject, session string) error {
	if err := k.Store.EndSession(ctx, subject, session); err != nil || session == "" {
		return err
	}
	k.repair(ctx)
	return nil
}

// Exchange implements oauth.GrantStore.
func (k *Keeper) Exchange(
	ctx context.Context, s oauth.Spend, id oauth.GrantID, decide func(*oauth.Grant) oauth.Change,
) (oauth.Handle, error) {
	var ended *oauth.Grant
	h, err := k.Store.Exchange(ctx, s, id, func(g *oauth.Grant) oauth.Change {
		c := decide(g)
		ended = nil
		if c.End {
			ended = g
		}
		return c
	})

	if ended != nil {
		if left, failed := k.Store.Grant(ctx, id); failed == nil && left == nil {
			k.note(k.deactivate(ctx, ended))
		}
	}
	return h, err
}

// Active reports whether the Consent of a grant is what it was made as: active, of the
// same patient, and permitting. A grant that has none needs none.
func (k *Keeper) Active(ctx context.Context, g *oauth.Grant) (active bool, err error) {
	if g.Consent == "" {
		return true, nil
	}

	err = k.Resources.View(ctx, func(sn fhir.Snapshot) error {
		active = false
		doc, ok, err := sn.Find(ctx, "Consent", g.Consent)
		if err != nil || !ok {
			return err
		}
		body, err := sn.Body(ctx, doc)
		if err != nil {
			return err
		}
		root, err := tree.ParseStored(body)
		if err != nil {
			return err
		}

		active = root.Get("status").Text() == "active" &&
			root.At("provision", "type").Text() == "permit" &&
			root.At("patient", "reference").Text() == "Patient/"+patientOf(g)
		return nil
	})
	return active, err
}

// Grants implements oauth.GrantStore, and ends those whose Consents are not active any
// more.
func (k *Keeper) Grants(ctx context.Context, subject string) ([]*oauth.Grant, error) {
	all, err := k.Store.Grants(ctx, subject)
	if err != nil {
		return nil, err
	}

	var left []*oauth.Grant
	for _, g := range all {
		active, err := k.Active(ctx, g)
		if err == nil && !active {
			err = k.End(ctx, g)
		} else if active {
			left = append(left, g)
		}
		if err != nil {
			return nil, err
		}
	}
	return left, nil
}

// End removes a grant whose Consent is not active any more, after what is remembered
// of it: the client must not get the same again without the person's being asked.
func (k *Keeper) End(ctx context.Context, g *oauth.Grant) error {
	if err := k.Forget(ctx, g.Person.Subject, g.ClientID); err != nil {
		return err
	}
	return k.Store.Withdraw(ctx, g.ID, g.Person.Subject)
}

// deactivate makes the Consent of a grant inactive, if it is active.
func (k *Keeper) deactivate(ctx context.Context, g *oauth.Grant) error {
	active, err := k.Active(ctx, g)
	if err != nil || !active || g.Consent == "" {
		return err
	}
	return k.do(ctx, g, http.MethodPatch, g.Consent, "application/json-patch+json",
		[]byte(`[{"op":"replace","path":"/status","value":"inactive"}]`))
}

// do changes a Consent, as a request of the person by the client of a grant. It is in
// the audit record as such.
func (k *Keeper) do(
	ctx context.Context, g *oauth.Grant, method, id, media string, body []byte,
) error {
	set, _ := scope.ParseSet([]string{"system/Consent.cruds"})
	return k.Service().Act(context.WithoutCancel(ctx), &fhir.Asked{
		Method: method,
		Path:   []string{"Consent", id},
		Header: http.Header{
			"Content-Type": {media},
			"Prefer":       {"return=minimal"}, // nobody is shown the Consent
		},
		Body: body,
		Grant: &fhir.Grant{
			Scopes:    set,
			Client:    string(g.ClientID),
			Community: string(g.Community),
			Party:     string(g.Client),
			Grant:     string(g.ID),
			Subject:   g.Person.Subject,
			User:      g.Person.FHIRUser,
		},
	})
}

// note logs an error that Repair mends later.
func (k *Keeper) note(err error) {
	if err != nil {
		k.Log.Error("a grant and its Consent could not be brought together; it is tried again", "cause", err)
	}
}

// Run repairs at once and every interval, until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	const interval = time.Minute
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		k.repair(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (k *Keeper) repair(ctx context.Context) {
	if ctx.Err() == nil {
		k.note(k.Repair(ctx))
	}
}

// Repair makes the Consents inactive whose grants are gone or have expired.
func (k *Keeper) Repair(ctx context.Context) error {
	ids, err := k.activeConsents(ctx)
	if err != nil {
		return err
	}

	var errs []error
	now := k.Now()
	for consent, id := range ids {
		g, err := k.Store.Grant(ctx, id)
		if err == nil && (g == nil || !g.Expires.After(now)) {
			err = k.do(ctx, k.gone(g, id), http.MethodPatch, consent, "application/json-patch+json",
				[]byte(`[{"op":"replace","path":"/status","value":"inactive"}]`))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// gone returns what is left of a grant: nothing but its identifier when it has been
// removed. Then the server itself changes its Consent.
func (k *Keeper) gone(g *oauth.Grant, id oauth.GrantID) *oauth.Grant {
	if g != nil {
		return g
	}
	return &oauth.Grant{
		ID:       id,
		ClientID: "server",
	}
}

// activeConsents returns the grants of the Consents of this server that are active, by
// the ids of these.
func (k *Keeper) activeConsents(ctx context.Context) (ids map[string]oauth.GrantID, err error) {
	parser := search.Parser{Now: k.Now}
	q, err := parser.Parse(ctx, []string{"Consent"}, []search.Pair{
		{Name: "identifier", Value: k.system() + "|"},
		{Name: "status", Value: "active"},
	}, true)
	if err != nil {
		return nil, err
	}

	all := func(string) search.Filter {
		return search.Everything()
	}
	err = k.Resources.View(ctx, func(sn fhir.Snapshot) error {
		ids = map[string]oauth.GrantID{}
		found, err := search.NewFinder(ctx, sn, all, all).Find(q)
		if err != nil {
			return err
		}

		var failed error
		err = sn.Entries(ctx, found.Docs, func(e fhir.Entry) bool {
			root, err := tree.ParseStored(e.Body)
			if err != nil {
				failed = err
				return false
			}
			for _, one := range root.Get("identifier").Each() {
				id := one.Get("value").Text()
				if one.Get("system").Text() == k.system() && e.ID == resourcePrefix+id {
					ids[e.ID] = oauth.GrantID(id)
				}
			}
			return true
		})
		return errors.Join(failed, err)
	})
	return ids, err
}
