package bring_test

import (
	"crypto/x509"
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/lab/bring"
	"fhirdest.example/udap"
	"fhirdest.example/udap/udaptest"
)

const site = "https://localhost:8443/acme/lab/0123456789abcdef0123456789abcdef/"

func material(t *testing.T) bring.Material {
	t.Helper()
	w := udaptest.New(t, certs.P256)
	return bring.Material{
		Session: lab.Session{
			Base:   site + "fhir",
			Issuer: site + "oauth",
			Page:   site,
		},
		Issuers: []lab.Issuer{
			{
				Community: string(udaptest.CommunityA),
				Name:      "Community A",
				Anchors:   []*x509.Certificate{w.A.Root.Cert},
			},
			{
				Community: string(udap.TEFCACommunity),
				Name:      "TEFCA",
				Anchors:   []*x509.Certificate{w.B.Root.Cert},
			},
		},
		TLS: []*x509.Certificate{w.B.Root.Cert},
	}
}

var program = regexp.MustCompile(`(?s)<pre tabindex="0" data-file="([^"]+)"><code>(.*?)</code>`)

// TestProgramsAreFilledIn: each program on the page is the one that is downloaded, and
// has the addresses of its session, the community and the client that were chosen.
func TestProgramsAreFilledIn(t *testing.T) {
	m := material(t)
	for _, row := range []struct {
		name   string
		choice bring.Choice
		want   []string
	}{
		{
			"the first community",
			bring.Choice{},
			[]string{
				site + "fhir",
				string(udaptest.CommunityA),
				site + "client/my-client",
				"113883.5.8#TREAT",
			},
		},
		{
			"TEFCA",
			bring.Choice{Community: string(udap.TEFCACommunity), Name: "qhin"},
			[]string{
				string(udap.TEFCACommunity),
				site + "client/qhin#T-TREAT",
				"3.7204.1.5.2.1#T-TREAT",
				"NPI",
			},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			body, err := m.Page(row.choice)
			if err != nil {
				t.Fatal(err)
			}

			found := program.FindAllStringSubmatch(string(body), -1)
			if len(found) != 5 {
				t.Fatalf("the page has %d programs", len(found))
			}
			for _, p := range found {
				text := html.UnescapeString(p[2])
				f, ok := m.File(p[1], row.choice)
				if !ok || string(f.Content) != text {
					t.Errorf("%s on the page is not the one to download", p[1])
				}
				if strings.Contains(text, "[[.") {
					t.Errorf("%s is not filled in", p[1])
				}
				for _, want := range row.want {
					if !strings.Contains(text, want) {
						t.Errorf("%s lacks %s", p[1], want)
					}
				}
			}
		})
	}
}

// TestLinksKeepTheChoice: what the page links to is for the community and the client
// that were chosen, not for the first community.
func TestLinksKeepTheChoice(t *testing.T) {
	m := material(t)
	chosen := bring.Choice{
		Community: string(udap.TEFCACommunity),
		Name:      "qhin",
	}
	body, err := m.Page(chosen)
	if err != nil {
		t.Fatal(err)
	}

	links := download.FindAllStringSubmatch(string(body), -1)
	if len(links) != 6 {
		t.Fatalf("%d links to files: %q", len(links), links)
	}
	for _, l := range links {
		query, err := url.ParseQuery(html.UnescapeString(l[2]))
		if err != nil {
			t.Fatal(err)
		}
		if query.Get("community") != chosen.Community || query.Get("name") != chosen.Name {
			t.Errorf("the link to %s asks for %q", l[1], query)
		}
	}
}

var download = regexp.MustCompile(`href="bring/([^"?]+)\?([^"]*)"`)

// TestChoicesThatCannotBe: what would end a quotation in a program gets into none.
func TestChoicesThatCannotBe(t *testing.T) {
	for name, choice := range map[string]bring.Choice{
		"another community": {Community: "urn:other"},
		"a quote":           {Name: `a"b`},
		"a line":            {Name: "a\nb"},
		"a command":         {Name: "$(true)"},
		"a letter":          {Name: "é"},
		"too long":          {Name: strings.Repeat("a", 41)},
	} {
		t.Run(name, func(t *testing.T) {
			m := material(t)
			if body, err := m.Page(choice); err == nil {
				t.Errorf("the page is made: %s", body)
			}
			if f, ok := m.File("client.sh", choice); ok {
				t.Errorf("the program is made: %s", f.Content)
			}
		})
	}

	m := material(t)
	m.Issuers[0].Community = "urn:it's"
	if _, err := m.Page(bring.Choice{}); err == nil {
		t.Error("a community with a quote gets into programs")
	}
}

func TestAnchorsAreDownloaded(t *testing.T) {
	m := material(t)
	second := bring.Choice{Community: string(udap.TEFCACommunity)}
	for _, row := range []struct {
		file   string
		choice bring.Choice
		want   *x509.Certificate
	}{
		{"anchor.pem", bring.Choice{}, m.Issuers[0].Anchors[0]},
		{"anchor.pem", second, m.Issuers[1].Anchors[0]},
		{"tls.pem", second, m.TLS[0]},
	} {
		f, ok := m.File(row.file, row.choice)
		if !ok || string(f.Content) != string(certs.CertificatesPEM(row.want)) {
			t.Errorf("%s of %q is %s", row.file, row.choice.Community, f.Content)
		}
	}

	m.TLS = nil
	if _, ok := m.File("tls.pem", second); ok {
		t.Error("there is an authority of TLS without any")
	}
	if body, err := m.Page(second); err != nil || strings.Contains(string(body), "--insecure") {
		t.Errorf("a public authority is not trusted: %v", err)
	}
}
