// Package assess holds a client to its requirements: from the exchanges of a
// session it finds which rows of the catalogue (package conform) a client has shown,
// which it has violated, and by what. It reads the exchanges alone, without a clock
// or a network, so that the same exchanges always lead to the same findings.
//
// What the destination decided is read from the traces of an exchange: signatures,
// paths of trust, revocation and the policy of a community. What no check of one
// request can see is found here: a jti, code, state or challenge used again,
// endpoints that no metadata had, a token in a URL, a page's next link altered.
package assess
