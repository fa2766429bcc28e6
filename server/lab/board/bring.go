package board

import (
	"html/template"
	"io"
	"net/http"

	"fhirdest.example/server/lab/bring"
)

// maxRequest bounds a certificate signing request, in bytes.
const maxRequest = 16 << 10

// bringPage is the page for those who bring a client.
type bringPage struct {
	frame
	Body template.HTML
}

func (v *visit) material() bring.Material {
	return bring.Material{
		Session: v.Session,
		Issuers: v.Lab.Issuers(),
		TLS:     v.TLS,
	}
}

func choice(r *http.Request) bring.Choice {
	return bring.Choice{
		Community: r.URL.Query().Get("community"),
		Name:      r.URL.Query().Get("name"),
	}
}

// bring answers with what a client needs for this session.
func (v *visit) bring(w http.ResponseWriter, r *http.Request) {
	p := bringPage{frame: v.frame("Bring a client", "bring")}
	status := http.StatusOK
	var err error
	if p.Body, err = v.material().Page(choice(r)); err != nil {
		status = http.StatusBadRequest
		p.Problem = err.Error()
	}
	v.show(w, r, status, "bring", p)
}

// download answers with a file of a name for a choice.
func (v *visit) download(name string) page {
	f, ok := v.material().File(name, bring.Choice{})
	if !ok {
		return nil
	}

	return page{"GET": func(w http.ResponseWriter, r *http.Request) {
		if f, ok = v.material().File(name, choice(r)); !ok {
			v.fail(w, r, http.StatusBadRequest, "There is no such community or name.")
			return
		}
		w.Header().Set("Content-Type", f.Type)
		w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
		write(w, r, http.StatusOK, f.Content)
	}}
}

// certificate answers a certificate signing request with the chain, leaf first.
func (v *visit) certificate(w http.ResponseWriter, r *http.Request) {
	csr, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		plainText(w, r, http.StatusRequestEntityTooLarge, "a certificate signing request has at most 16 KiB")
		return
	}
	if len(csr) == 0 {
		plainText(w, r, http.StatusBadRequest, "send a certificate signing request (PEM)")
		return
	}

	req, err := v.material().Request(choice(r), csr)
	if err != nil {
		plainText(w, r, http.StatusBadRequest, err.Error())
		return
	}

	issued, err := v.Lab.IssueClient(r.Context(), v.Session.ID, req)
	if err != nil {
		status, text := problem(err)
		plainText(w, r, status, text)
		return
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	write(w, r, http.StatusOK, []byte(issued.Chain))
}

// plainText answers a program with one sentence.
func plainText(w http.ResponseWriter, r *http.Request, status int, sentence string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	write(w, r, status, []byte(sentence+"\n"))
}
