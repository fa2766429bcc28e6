// Package arrows holds the project's table of packages and what each may
// import. Its test reads every source file and holds the table; the README's
// picture shows the same arrows.
package arrows

// row lists what the non-test files of one package may import. A trailing "/..."
// includes the packages below.
type row struct {
	room   string
	reason string   // the one reason for which the package exists
	ours   []string // packages of this module, by path below its root
	others []string // modules, by path prefix; the standard library is free unless named in less
	less   []string // what it may not import of the standard library, rooms below included
}

const (
	jwx     = "github.com/lestrrat-go/jwx/v2"
	mux     = "github.com/gorilla/mux"
	bbolt   = "go.etcd.io/bbolt"
	pgx     = "github.com/jackc/pgx/v5"
	models  = "github.com/samply/golang-fhir-models/fhir-models"
	strict  = "github.com/go-json-experiment/json"
	pkcs12  = "software.sslmate.com/src/go-pkcs12"
	goyaml  = "github.com/goccy/go-yaml"
	xocsp   = "golang.org/x/crypto/ocsp"
	xtext   = "golang.org/x/text"
	argon2  = "golang.org/x/crypto/argon2"
	metrics = "github.com/prometheus/client_golang"
)

// table: the first row that names a package counts.
var table = []row{
	{
		room:   "gateway/complaint",
		reason: "problems with their remedies, all at once",
		less:   []string{"net", "os", "encoding/json"},
	},
	{
		room:   "certs/netname",
		reason: "read names of hosts, origins and networks",
		less:   []string{"net/http", "os", "encoding/json"},
	},
	{
		room:   "certs/disk",
		reason: "what differs between systems about files: locks, permissions, owners, durable names",
		others: []string{"golang.org/x/sys"},
		less:   []string{"net", "encoding/json"},
	},
	{
		room:   "udap/trace",
		reason: "checks, findings and traces: the record of a decision",
		less:   []string{"net", "os", "encoding/json"},
	},
	{
		room:   "udap/jose",
		reason: "strict JSON and JWS, keys, signing",
		ours:   []string{"udap/trace"},
		others: []string{jwx, strict},
		less:   []string{"net", "net/http", "os", "encoding/json"},
	},
	{
		room:   "udap",
		reason: "verify signed documents",
		ours:   []string{"udap/trace", "udap/jose", "certs/netname"},
		others: []string{strict, xocsp, xtext},
		less:   []string{"net", "net/http", "os", "encoding/json"},
	},
	{
		room:   "udap/fetch",
		reason: "CRL, OCSP and AIA over the network, under rule 5",
		ours:   []string{"udap", "udap/trace", "certs/netname"},
		others: []string{xocsp, strict},
		less:   []string{"encoding/json"},
	},
	{
		room:   "udap/client",
		reason: "be an originator",
		ours:   []string{"udap", "udap/trace", "udap/jose", "udap/fetch", "certs/netname"},
		others: []string{strict},
		less:   []string{"encoding/json"},
	},
	{
		room:   "udap/client/forms",
		reason: "a browser for programs: pages, forms, cookies and redirects",
		others: []string{"golang.org/x/net/html"},
	},
	{
		room:   "udap/udaptest",
		reason: "environments of trust for tests",
		ours:   []string{"udap", "udap/trace", "udap/jose", "udap/forge", "certs"},
		others: []string{strict},
	},
	{
		room:   "udap/forge",
		reason: "make signed documents, right or wrong",
		ours:   []string{"udap", "udap/trace", "udap/jose"},
	},
	{
		room:   "udap/fault",
		reason: "the catalogue of deliberate mistakes, each with the check that must catch it",
		ours:   []string{"udap", "udap/trace", "udap/jose", "udap/forge"},
	},
	{
		room:   "udap/look",
		reason: "one visual language: the style sheet, and how verdicts, digests and times are written",
		ours:   []string{"udap/trace"},
		less:   []string{"net", "os", "encoding/json"},
	},
	{
		room:   "udap/fault/answer",
		reason: "deliberate faults in answers, and whether the client noticed",
		ours: []string{
			"udap", "udap/trace", "udap/jose", "udap/forge", "udap/conform", "certs",
		},
		others: []string{strict},
		less:   []string{"encoding/json", "os"},
	},
	{
		room:   "udap/conform/assess",
		reason: "what the exchanges of a session show about a client",
		ours:   []string{"udap", "udap/trace", "udap/jose", "udap/conform", "udap/conform/hint"},
		less:   []string{"net/http", "os", "encoding/json"},
	},
	{
		room:   "udap/conform",
		reason: "requirements as rows, and what was found about each",
		ours:   []string{"udap", "udap/trace", "udap/jose", "udap/look"},
		others: []string{strict},
		less:   []string{"encoding/json"},
	},
	{
		room:   "udap/conform/examine",
		reason: "every server row of UDAP Security as a check of a destination from outside",
		ours: []string{
			"udap", "udap/trace", "udap/jose", "udap/forge", "udap/fault", "udap/client", "udap/conform", "certs",
		},
		others: []string{strict},
		less:   []string{"os", "encoding/json"},
	},
	{
		room:   "udap/conform/hint",
		reason: "what was typed when a request reached nothing, or could not be read",
		ours:   []string{"udap/trace", "udap/jose", "udap/conform"},
		others: []string{strict},
		less:   []string{"net/http", "os", "time", "encoding/json"},
	},
	{
		room:   "udap/conform/report",
		reason: "what was found, as a page, JSON, JUnit XML and a badge",
		ours:   []string{"udap/conform", "udap/look"},
		others: []string{strict},
		less:   []string{"net", "os", "encoding/json"},
	},
	{
		room:   "udap/internal/vectors",
		reason: "test vectors of other projects, and where our verdicts differ",
	},
	{
		room:   "certs",
		reason: "issue certificates, CRLs and whole communities; read PEM and PKCS#12",
		ours:   []string{"certs/disk"},
		others: []string{pkcs12},
		less:   []string{"net/http", "encoding/json"},
	},
	{
		room:   "fhir/scope",
		reason: "read SMART scopes",
	},
	{
		room:   "fhir/access",
		reason: "answer whether a grant may see or change something",
		ours:   []string{"fhir/scope", "fhir/search", "fhir/tree", "udap/trace"},
		less:   []string{"net", "net/http", "os", "encoding/json"},
	},
	{
		room:   "fhir/trail",
		reason: "the audit record: AuditEvents, and the chain of hashes over them",
		ours:   []string{"fhir/search"},
		others: []string{strict},
		less:   []string{"net", "net/http", "os", "encoding/json"},
	},
	{
		room:   "fhir/table/internal/gen",
		reason: "make the table of types from npm's copy of HL7's definitions",
	},
	{
		room:   "fhir/table/internal/second",
		reason: "make the list of elements that a test compares the table with from another npm package",
	},
	{
		room:   "fhir/search/internal/gen",
		reason: "make the table of search parameters from the same",
		ours:   []string{"fhir/..."},
	},
	{
		room:   "fhir/async/asyncenv",
		reason: "the environment of tests of work in the background",
		ours:   []string{"fhir", "fhir/...", "server/bolt", "udap/trace"},
		others: []string{strict},
	},
	{
		room:   "fhir/...",
		reason: "FHIR R4 over stored bytes",
		ours:   []string{"fhir/...", "udap/trace", "udap/look"},
		others: []string{models, strict, "golang.org/x/text"},
		less:   []string{"encoding/json"},
	},
	{room: "gateway", reason: "pass bytes and remember digests",
		ours: []string{"gateway/..."}, less: []string{"encoding/json", "crypto/x509"}},
	{
		room:   "gateway/...",
		reason: "framing, digests and evidence, shared with destination and originator",
		ours:   []string{"gateway/..."},
		less:   []string{"crypto/x509"},
	},
	{
		room:   "server/rate",
		reason: "bound how often one party is served",
		less:   []string{"net", "os", "encoding/json"},
	},
	{
		room:   "server/oauth/idtoken",
		reason: "sign ID tokens, and keep the keys for it",
		ours:   []string{"udap/jose"},
		others: []string{strict},
		less:   []string{"net", "os", "encoding/json"},
	},
	{
		room:   "server/oauth/dpop",
		reason: "verify DPoP proofs",
		ours:   []string{"udap/trace", "udap/jose"},
		less:   []string{"net/http", "os", "encoding/json"},
	},
	{
		room:   "server/oauth/observe",
		reason: "after whose refusal an observing destination goes on, and after whose it never does",
		less:   []string{"net", "os", "encoding/json"},
	},
	{
		room:   "server/oauth",
		reason: "register clients, issue and judge tokens",
		ours: []string{
			"udap", "udap/trace", "udap/jose", "server/audit", "server/rate", "server/oauth/dpop",
			"server/oauth/idtoken", "fhir/scope",
		},
		others: []string{strict, jwx, mux},
		less:   []string{"encoding/json"},
	},
	{
		room:   "server/oauth/stored",
		reason: "the form in which every engine stores what oauth.Store keeps",
		ours:   []string{"server/oauth"},
		others: []string{strict},
		less:   []string{"net", "net/http", "os", "encoding/json"},
	},
	{room: "server/oauth/storetest", reason: "the test that any store of oauth must pass",
		ours: []string{"udap", "udap/trace", "server/oauth"}, others: []string{strict}},
	{
		room:   "server/bolt",
		reason: "Bolt files; implements the interfaces that its callers declare",
		ours: []string{
			"udap", "udap/trace", "udap/fetch", "fhir", "fhir/search", "fhir/trail", "fhir/async",
			"server/packed", "server/carry", "server/oauth", "server/audit", "server/people", "server/tiered",
			"server/lab", "udap/conform", "server/shared", "server/oauth/stored", "certs/disk",
		},
		others: []string{bbolt, strict},
		less:   []string{"encoding/json", "net/http"},
	},
	{
		room:   "server/shared",
		reason: "one transaction for the work of all callers that wait",
		less:   []string{"net/http", "os", "encoding/json"},
	},
	{
		room:   "server/postgres",
		reason: "stores that destinations share; implements the interfaces that its callers declare",
		ours: []string{
			"certs/netname",
			"udap", "udap/trace", "udap/fetch", "fhir", "fhir/search", "fhir/trail", "fhir/async",
			"server/oauth", "server/audit", "server/people", "server/tiered", "server/shared",
			"server/packed", "server/carry",
			"server/oauth/stored", "server/postgres/reach", "server/postgres/flow",
		},
		others: []string{pgx, strict},
		less:   []string{"encoding/json", "net/http"},
	},
	{
		room:   "server/postgres/reach",
		reason: "find out whether a server answers, by probes that all share",
		less:   []string{"net", "os", "encoding/json"},
	},
	{
		room:   "server/postgres/flow",
		reason: "connections that end when the way to the server is lost silently",
		others: []string{"golang.org/x/sys"},
		less:   []string{"net/http", "os", "encoding/json"},
	},
	{
		room:   "server/postgres/local",
		reason: "run a PostgreSQL server of one's own",
		less:   []string{"net/http", "encoding/json"},
	},
	{
		room:   "server/postgres/postgrestest",
		reason: "empty databases for tests",
		ours:   []string{"server/postgres", "server/postgres/local"},
		others: []string{pgx, "golang.org/x/sys"},
	},
	{
		room:   "server/carry",
		reason: "rows of no engine; copy a destination from one engine to another",
		ours:   []string{"fhir", "fhir/trail", "server/packed", "server/oauth"},
		less:   []string{"net", "net/http", "os", "encoding/json"},
	},
	{
		room:   "server/packed",
		reason: "rows that hold many audit records, or their index",
		ours:   []string{"fhir/trail"},
		less:   []string{"net", "net/http", "os", "encoding/json"},
	},
	{
		room:   "server/people",
		reason: "sign-in, sessions, consent, and what people granted",
		ours: []string{
			"udap/trace", "udap/jose", "udap/look", "server/oauth", "server/people/users", "server/rate", "fhir/scope",
		},
		others: []string{strict},
		less:   []string{"encoding/json"},
	},
	{
		room:   "server/consents",
		reason: "keep a Consent resource for each grant of a patient",
		ours:   []string{"fhir", "fhir/scope", "fhir/search", "fhir/tree", "server/oauth", "udap/trace"},
		others: []string{strict},
		less:   []string{"encoding/json"},
	},
	{
		room:   "server/people/peopletest",
		reason: "the test that any store of people must pass",
		ours:   []string{"udap/trace", "server/people"},
	},
	{
		room:   "server/people/users",
		reason: "the file of people who can sign in, and their passwords",
		others: []string{strict, argon2, xtext},
		less:   []string{"net", "net/http", "encoding/json"},
	},
	{
		room:   "server/audit",
		reason: "remember decisions",
		ours:   []string{"udap", "udap/trace", "fhir/trail"},
		others: []string{strict},
		less:   []string{"encoding/json"},
	},
	{
		room:   "server/forward",
		reason: "send the audit record to collectors elsewhere",
		others: []string{strict},
		less:   []string{"os", "encoding/json"},
	},
	{
		room:   "server/lab/board",
		reason: "the pages of the lab: a live board of each session",
		ours: []string{
			"gateway/evidence", "server/lab", "server/lab/bring",
			"udap/conform", "udap/conform/report", "udap/fault/answer",
			"udap/jose", "udap/look", "udap/trace",
		},
		others: []string{strict},
		less:   []string{"encoding/json"},
	},
	{
		room:   "server/console",
		reason: "let a person watch",
		ours:   []string{"udap", "udap/trace", "udap/look", "server/audit", "server/forward", "certs/netname"},
		others: []string{strict, mux},
		less:   []string{"encoding/json"},
	},
	{
		room:   "server/lab",
		reason: "sessions for clients under test",
		ours:   []string{"certs", "gateway/...", "server/rate", "udap/...", "udap"},
		others: []string{strict},
		less:   []string{"encoding/json"},
	},
	{
		room:   "server/lab/api",
		reason: "the lab's JSON interface, for programs",
		ours:   []string{"udap/conform", "server/lab", "udap/conform/report", "udap/fault/answer"},
		others: []string{strict},
		less:   []string{"os", "encoding/json"},
	},
	{
		room:   "server/lab/bring",
		reason: "the page for those who bring a client, and its programs",
		ours:   []string{"certs", "server/lab", "udap", "udap/look"},
		less:   []string{"net/http", "os", "encoding/json"},
	},
	{
		room:   "server/lab/labtest",
		reason: "the test that any store of the lab must pass",
		ours:   []string{"server/lab", "udap/conform", "udap/trace"},
	},
	{
		room:   "server/tiered",
		reason: "authenticate people at another identity provider",
		ours: []string{
			"udap",
			"udap/trace",
			"udap/client",
			"server/oauth",
			"server/people/users",
			"server/rate",
			"certs/netname",
		},
		less: []string{"os", "encoding/json"},
	},
	{
		room:   "server/tiered/tieredtest",
		reason: "the test that any store of tiered must pass",
		ours:   []string{"server/tiered"},
	},
	{
		room:   "server/doctor",
		reason: "examine a web server's communication security from outside",
		ours:   []string{"udap/trace", "certs"},
		less:   []string{"os", "encoding/json"},
	},
	{
		room:   "server/lab/faulty",
		reason: "listeners whose TLS is wrong in one way each",
		ours:   []string{"certs"},
		less:   []string{"os", "encoding/json"},
	},
	{
		room:   "server/servertest/chromium",
		reason: "a real browser for tests",
		others: []string{"github.com/chromedp/chromedp", "github.com/chromedp/cdproto"},
	},
	{
		room:   "server/servertest",
		reason: "a whole destination inside a test",
		ours:   []string{"server", "server/...", "udap/...", "udap", "certs"},
		others: []string{strict},
	},
	{
		room:   "server/quiet",
		reason: "bound what a log has about the same failure",
		less:   []string{"net", "os", "encoding/json"},
	},
	{
		room:   "server/engine",
		reason: "open the stores of a site, on either engine",
		ours: []string{
			"certs/disk", "fhir", "fhir/async", "fhir/trail", "gateway/complaint", "server/audit",
			"server/bolt", "server/carry", "server/lab", "server/oauth", "server/people", "server/postgres",
			"server/tiered", "udap/fetch",
		},
		less: []string{"encoding/json"},
	},
	{
		room:   "server",
		reason: "assemble, route, configure",
		ours: []string{
			"udap", "udap/trace", "udap/fetch", "udap/client", "certs", "fhir", "fhir/...", "gateway/wire",
			"gateway/evidence", "server/...", "gateway/complaint", "certs/disk", "certs/netname",
		},
		others: []string{strict, mux, metrics},
		less:   []string{"encoding/json"},
	},
	{
		room:   "cmd/internal/yamlfile",
		reason: "read one configuration file, strictly",
		ours:   []string{"gateway/complaint"},
		others: []string{goyaml},
	},
	{
		room:   "cmd/internal/gatewayd",
		reason: "a gateway's configuration, for cmd/gateway and cmd/sandbox",
		ours: []string{
			"gateway", "gateway/evidence", "cmd/internal/yamlfile", "gateway/complaint",
			"certs/disk", "certs/netname",
		},
	},
	{
		room:   "cmd/internal/testbed",
		reason: "an environment of all actors: communities, certificates, configurations, servers",
		ours: []string{
			"certs", "certs/netname", "cmd/internal/...", "fhir/sample", "gateway/complaint",
			"server", "server/people/users", "server/postgres", "server/postgres/local",
		},
		others: []string{goyaml, pgx},
	},
	{
		room:   "cmd/internal/labclient",
		reason: "ask a lab for sessions and reports",
		ours:   []string{"udap/conform/report"},
		others: []string{strict},
	},
	{room: "cmd/internal/...", reason: "what several actors' command lines share",
		ours: []string{"certs", "certs/disk", "cmd/internal/...", "gateway/complaint", "certs/netname"}},
	{
		room:   "cmd/destination",
		reason: "one actor: the destination",
		ours: []string{
			"server", "server/carry", "server/doctor", "server/people/users", "udap/trace", "certs", "cmd/internal/...",
			"gateway/complaint",
		},
		others: []string{strict},
	},
	{
		room:   "cmd/gateway",
		reason: "one actor: a gateway",
		ours: []string{
			"gateway", "gateway/...", "cmd/internal/gatewayd", "cmd/internal/probe", "cmd/internal/proc",
			"cmd/internal/version", "cmd/internal/yamlfile", "gateway/complaint",
		},
		less: []string{"net/http/httputil"},
	},
	{
		room:   "cmd/originator",
		reason: "one actor: an originator",
		ours: []string{
			"udap", "udap/trace", "udap/client", "udap/client/forms", "udap/conform/...", "udap/fetch", "udap/look",
			"certs", "gateway/wire", "gateway/evidence", "cmd/internal/...", "gateway/complaint", "certs/netname",
			"fhir/signature", "fhir/provenance", "fhir/splice", "fhir/tree",
		},
		others: []string{strict},
	},
	{
		room:   "cmd/community",
		reason: "one actor: a trust community",
		ours:   []string{"certs", "cmd/internal/...", "gateway/complaint"},
	},
	{
		room:   "cmd/sandbox",
		reason: "all actors: the demonstration",
		ours:   []string{"..."},
		others: []string{strict, goyaml, bbolt},
	},
	{
		room:   "scripts/image",
		reason: "container images without a daemon",
		ours:   []string{"scripts/release/build"},
		others: []string{
			"github.com/google/go-containerregistry", "golang.org/x/crypto/x509roots/fallback",
		},
		less: []string{"encoding/json"},
	},
	{
		room:   "scripts/...",
		reason: "development tools",
		ours:   []string{"..."},
		others: []string{strict, bbolt, mux, jwx, pgx},
	},
}

// topLevel is all that may be at the root, apart from dotfiles.
var topLevel = []string{
	"LICENSE", "README.md", "certs", "cmd", "fhir", "gateway", "go.mod", "go.sum", "scripts", "server", "udap",
}
