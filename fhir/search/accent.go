package search

import (
	"strings"
	"sync"
)

// accented lists Latin letters with marks after the letters that they fold to.
const accented = `a àáâãäåāăąǎÀÁÂÃÄÅĀĂĄǍ
ae æÆ
c çćĉċčÇĆĈĊČ
d ďđðĎĐÐ
e èéêëēĕėęěÈÉÊËĒĔĖĘĚ
g ĝğġģĜĞĠĢ
h ĥħĤĦ
i ìíîïĩīĭįıǐÌÍÎÏĨĪĬĮİǏ
j ĵĴ
k ķĶ
l ĺļľŀłĹĻĽĿŁ
n ñńņňŉÑŃŅŇ
o òóôõöøōŏőǒÒÓÔÕÖØŌŎŐǑ
oe œŒ
r ŕŗřŔŖŘ
s śŝşšșŚŜŞŠȘ
ss ßẞ
t ţťŧțŢŤŦȚ
th þÞ
u ùúûüũūŭůűųǔÙÚÛÜŨŪŬŮŰŲǓ
w ŵŴ
y ýÿŷÝŸŶ
z źżžŹŻŽ`

// accents maps each of them to its plain letters.
var accents = sync.OnceValue(func() map[rune]string {
	m := map[rune]string{}
	for line := range strings.Lines(accented) {
		plain, marked, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, r := range marked {
			m[r] = plain
		}
	}
	return m
})
