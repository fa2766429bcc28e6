package assess

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// Lane is one client of a session, and how far it got.
type Lane struct {
	ID          string             `json:"id"`
	Name        string             `json:"name"`
	Community   trace.CommunityURI `json:"community,omitempty"` // once the destination has verified it
	Client      trace.ClientURI    `json:"client,omitempty"`
	ClientIDs   []trace.ClientID   `json:"clientIds,omitempty"`
	Certificate string             `json:"certificate,omitempty"` // subject of the last one seen
	Address     string             `json:"address,omitempty"`
	Exchanges   int                `json:"exchanges"`
	First       time.Time          `json:"first"`
	Last        time.Time          `json:"last"`
	Steps       []Reached          `json:"steps,omitempty"` // in the order in which they were first seen
	Colour      Colour             `json:"colour"`          // the gravest of the steps
}

// Reached is a step that a client has made, once or more often.
type Reached struct {
	Step     conform.Step `json:"step"`
	Colour   Colour       `json:"colour"` // of the last time
	Worst    Colour       `json:"worst"`
	Text     string       `json:"text"` // of the last time
	Count    int          `json:"count"`
	Exchange uint64       `json:"exchange"` // the last one
}

// Bounds of what is kept of clients.
const (
	maxLanes = 200
	maxIDs   = 16 // client_ids of a lane that are shown
)

// lane is a Lane with what its client did.
type lane struct {
	Lane
	tally tally
	into  *lane
	named bool   // by more than an address
	own   string // the name that it has given itself

	announced *announced
	last      *registration // the registration that counts
	ended     *registration // the one that was cancelled last
	invalid   bool          // invalid_idp was answered
	altered   *code         // a code that came with an altered state
}

// whole returns the lane that a lane turned out to be.
func (l *lane) whole() *lane {
	for l.into != nil {
		l = l.into
	}
	return l
}

// Lanes returns the clients of the session, in the order of their first exchanges.
// Lanes that turned out to be another one are left out.
func (a *Assessor) Lanes() []Lane {
	var out []Lane
	for _, l := range a.lanes {
		shown := l.Lane
		shown.Steps = slices.Clone(l.Steps)
		shown.ClientIDs = slices.Clone(l.ClientIDs)
		out = append(out, shown)
	}
	return out
}

// place puts an exchange into the lane of its client, and returns the ids of the
// lanes that turned out to be that one.
func (a *Assessor) place(r *request) (joined []string) {
	l := a.named(r)
	if l == nil {
		r.lane = a.anonymous(r)
		r.lane.visit(r)
		if r.lane.announced == nil && r.place == register { // by a statement that cannot be read
			r.lane.announced, _ = a.metadata.get(r.Address)
		}
		return nil
	}

	key := origin(r)
	if earlier, ok := a.lane(key); ok && earlier != l && !earlier.named && earlier.ID != restID {
		earlier.join(l)
		a.lanes = slices.DeleteFunc(a.lanes, func(other *lane) bool { return other == earlier })
		joined = append(joined, earlier.ID)
	}
	a.byKey.set(key, l)

	if l.announced == nil {
		l.announced, _ = a.metadata.get(r.Address)
	}

	r.lane = l
	l.visit(r)
	l.describe(r)
	a.identify(l, r)

	return joined
}

// lane returns the lane of a key.
func (a *Assessor) lane(key string) (*lane, bool) {
	l, ok := a.byKey.get(key)
	if !ok {
		return nil, false
	}
	return l.whole(), true
}

// origin is the key by which requests without a name belong together. Connections do
// not distinguish clients: a gateway uses one for many.
func origin(r *request) string {
	return "at " + r.Address + " " + digest(r.header.get("user-agent"))
}

// named returns the lane of a request that names its client; nil if it names none.
func (a *Assessor) named(r *request) *lane {
	if l := a.holder(r); l != nil {
		return l
	}

	keys := identities(r)
	for _, key := range keys {
		if l, ok := a.lane(key); ok && a.fits(l, r) {
			return l
		}
	}
	if len(keys) == 0 {
		return nil
	}

	l := a.open(r)
	l.named = l.ID != restID
	return l
}

// fits reports whether what the destination verified about a request is no other
// client than a lane's.
func (a *Assessor) fits(l *lane, r *request) bool {
	community, uri := verified(r)
	return l.Community == "" || community == "" || l.Community == community && (uri == "" || l.Client == uri)
}

// verified returns what the destination found out about the client.
func verified(r *request) (trace.CommunityURI, trace.ClientURI) {
	for _, t := range r.Traces {
		if t != nil && t.Community != "" && t.Client != "" {
			return t.Community, t.Client
		}
	}
	return "", ""
}

// holder returns the lane to which a credential of a request was issued.
func (a *Assessor) holder(r *request) *lane {
	if t, ok := a.tokens.get(digest(r.bearer())); ok {
		return t.lane.whole()
	}
	if t, ok := a.refreshes.get(digest(r.form.Get("refresh_token"))); ok {
		return t.lane.whole()
	}
	if c, ok := a.codes.get(digest(r.form.Get("code"))); ok {
		return c.lane.whole()
	}
	return nil
}

// bearer returns the access token of a request, in its masked form.
func (r *request) bearer() string {
	scheme, token, _ := strings.Cut(r.header.get("authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP") {
		return strings.TrimSpace(token)
	}
	return ""
}

// identities returns the keys by which a request names its client, the surest first.
func identities(r *request) []string {
	var out []string
	add := func(kind, value string) {
		if value != "" {
			out = append(out, kind+" "+digest(value))
		}
	}

	if community, uri := verified(r); uri != "" {
		add("member", string(community)+" "+string(uri))
	}
	if r.doc != nil {
		add("certificate", r.doc.thumb)
	}
	for _, t := range r.Traces {
		if t != nil {
			add("id", string(t.ClientID))
		}
	}

	if r.place == authorize {
		add("id", r.parameter("client_id"))
		add("uri", r.parameter("client_id")) // where it does not belong
	}
	if r.doc != nil {
		if r.doc.kind == assertion {
			add("id", r.doc.text("iss"))
		}
		add("uri", r.doc.text("iss"))
	}
	if r.place == token {
		add("id", r.form.Get("client_id"))
	}

	return out
}

// identify remembers by which names a lane is known.
func (a *Assessor) identify(l *lane, r *request) {
	if l.ID == restID {
		return
	}
	for _, key := range identities(r) {
		if other, ok := a.lane(key); !ok || !other.named {
			a.byKey.set(key, l)
		}
	}
}

// restID is the lane of all clients beyond maxLanes.
const restID = "rest"

// open makes a lane.
func (a *Assessor) open(r *request) *lane {
	l := &lane{
		Lane: Lane{
			ID:      fmt.Sprintf("c%d", r.N),
			Address: address(r),
			Name:    "client at " + address(r),
			First:   r.Received,
			Colour:  Green,
		},
		tally: tally{},
	}

	switch n := len(a.lanes); {
	case a.rest != nil:
		return a.rest
	case n == maxLanes-1:
		l.ID, l.Name = restID, "further clients"
		a.rest = l
	}
	a.lanes = append(a.lanes, l)

	return l
}

// anonymous returns the lane of a request that names no client: that of its origin.
// When a client there has been named already, the metadata may be read by the next
// one, which is not known yet.
func (a *Assessor) anonymous(r *request) *lane {
	key := origin(r)
	discovers := r.place == metadata || r.place == documents
	if l, ok := a.lane(key); ok && !(l.named && discovers) {
		return l
	}

	l := a.open(r)
	a.byKey.set(key, l)
	return l
}

// join makes a lane without a name part of another one.
func (l *lane) join(to *lane) {
	l.into = to
	to.Exchanges += l.Exchanges
	if l.First.Before(to.First) {
		to.First = l.First
	}
	if to.announced == nil {
		to.announced = l.announced
	}

	for row, c := range l.tally {
		to.tally.merge(row, c)
	}
	for _, s := range l.Steps {
		to.merge(s)
	}
}

// visit counts an exchange.
func (l *lane) visit(r *request) {
	l.Exchanges++
	l.Last = r.Received
	l.Address = address(r)
}

// address returns the address of a client as it can be written.
func address(r *request) string {
	return strings.ToValidUTF8(r.Address, "\ufffd")
}

// describe takes over what a request has about its client.
func (l *lane) describe(r *request) {
	if l.ID == restID {
		return
	}

	if community, uri := verified(r); uri != "" {
		l.Community, l.Client = community, uri
	}
	if r.doc != nil && len(r.doc.certs) > 0 {
		l.Certificate = trace.Cut(jose.CertName(r.doc.certs[0]), maxShown)
	}
	if r.doc != nil && r.doc.kind == statement {
		l.Client = cmp.Or(l.Client, trace.ClientURI(trace.Cut(r.doc.text("iss"), maxShown)))
		l.own = cmp.Or(trace.Cut(strings.TrimSpace(r.doc.text("client_name")), maxShown), l.own)
	}

	l.Name = cmp.Or(l.own, string(l.Client), l.Name)
}

// known returns what is known about the client now.
func (l *lane) known() Known {
	return Known{
		Name:      l.Name,
		URI:       l.Client,
		Community: l.Community,
	}
}

var order = map[Colour]int{
	Green: 1,
	Amber: 2,
	Red:   3,
}

func worse(a, b Colour) Colour {
	if order[a] > order[b] {
		return a
	}
	return b
}

// reach records a step.
func (l *lane) reach(out Assessment, x *conform.Exchange) {
	l.merge(Reached{
		Step:     out.Step,
		Colour:   out.Colour,
		Worst:    out.Colour,
		Text:     out.Text,
		Count:    1,
		Exchange: x.N,
	})
}

func (l *lane) merge(s Reached) {
	l.Colour = worse(l.Colour, s.Worst)
	i := slices.IndexFunc(l.Steps, func(old Reached) bool { return old.Step == s.Step })
	if i < 0 {
		l.Steps = append(l.Steps, s)
		return
	}

	old := &l.Steps[i]
	old.Count += s.Count
	old.Worst = worse(old.Worst, s.Worst)
	if s.Exchange > old.Exchange {
		old.Colour, old.Text, old.Exchange = s.Colour, s.Text, s.Exchange
	}
}
