// Package people asks persons: it signs them in, has them choose a patient,
// shows them who asks for what, and remembers and takes back what they agreed to.
//
// Every page is a whole HTML document that needs no script. Before a person has
// signed in the server keeps nothing of a request: pages carry its parameters
// along, and every step parses and verifies them anew
// (oauth.Service.ParseAuthorization). A form is accepted only from a page of this
// server, with a token that is bound to the browser, to the person and to what
// the page showed, so that two tabs do not disturb each other.
package people
