package search

import (
	"strings"
	"sync"
)

// accented lists Latin and Greek letters with marks after the letters that they
// fold to, by their decomposition in Unicode, and those that have none (æ, ø,
// final sigma, ...).
const accented = `a ÀÁÂÃÄÅàáâãäåĀāĂăĄąǍǎǞǟǠǡǺǻȀȁȂȃȦȧḀḁẠạẢảẤấẦầẨẩẪẫẬậẮắẰằẲẳẴẵẶặ
ae Ææ
b ḂḃḄḅḆḇ
c ÇçĆćĈĉĊċČčḈḉ
d ÐðĎďĐđḊḋḌḍḎḏḐḑḒḓ
e ÈÉÊËèéêëĒēĔĕĖėĘęĚěȄȅȆȇȨȩḔḕḖḗḘḙḚḛḜḝẸẹẺẻẼẽẾếỀềỂểỄễỆệ
f Ḟḟ
g ĜĝĞğĠġĢģǦǧǴǵḠḡ
h ĤĥĦħȞȟḢḣḤḥḦḧḨḩḪḫẖ
i ÌÍÎÏìíîïĨĩĪīĬĭĮįİıǏǐȈȉȊȋḬḭḮḯỈỉỊị
j Ĵĵǰ
k ĶķǨǩḰḱḲḳḴḵ
l ĹĺĻļĽľĿŀŁłḶḷḸḹḺḻḼḽ
m ḾḿṀṁṂṃ
n ÑñŃńŅņŇňŉǸǹṄṅṆṇṈṉṊṋ
o ÒÓÔÕÖØòóôõöøŌōŎŏŐőƠơǑǒǪǫǬǭȌȍȎȏȪȫȬȭȮȯȰȱṌṍṎṏṐṑṒṓỌọỎỏỐốỒồỔổỖỗỘộỚớỜờỞởỠỡỢợ
oe Œœ
p ṔṕṖṗ
r ŔŕŖŗŘřȐȑȒȓṘṙṚṛṜṝṞṟ
s ŚśŜŝŞşŠšȘșṠṡṢṣṤṥṦṧṨṩ
ss ßẞ
t ŢţŤťŦŧȚțṪṫṬṭṮṯṰṱẗ
th Þþ
u ÙÚÛÜùúûüŨũŪūŬŭŮůŰűŲųƯưǓǔǕǖǗǘǙǚǛǜȔȕȖȗṲṳṴṵṶṷṸṹṺṻỤụỦủỨứỪừỬửỮữỰự
v ṼṽṾṿ
w ŴŵẀẁẂẃẄẅẆẇẈẉẘ
x ẊẋẌẍ
y ÝýÿŶŷŸȲȳẎẏẙỲỳỴỵỶỷỸỹ
z ŹźŻżŽžẐẑẒẓẔẕ
æ ǢǣǼǽ
ø Ǿǿ
ſ ẛ
ʒ Ǯǯ
α ΆάἀἁἂἃἄἅἆἇἈἉἊἋἌἍἎἏὰάᾀᾁᾂᾃᾄᾅᾆᾇᾈᾉᾊᾋᾌᾍᾎᾏᾰᾱᾲᾳᾴᾶᾷᾸᾹᾺΆᾼ
ε ΈέἐἑἒἓἔἕἘἙἚἛἜἝὲέῈΈ
η ΉήἠἡἢἣἤἥἦἧἨἩἪἫἬἭἮἯὴήᾐᾑᾒᾓᾔᾕᾖᾗᾘᾙᾚᾛᾜᾝᾞᾟῂῃῄῆῇῊΉῌ
ι ΊΐΪίϊἰἱἲἳἴἵἶἷἸἹἺἻἼἽἾἿὶίῐῑῒΐῖῗῘῙῚΊ
ο ΌόὀὁὂὃὄὅὈὉὊὋὌὍὸόῸΌ
ρ ῤῥῬ
σ ς
υ ΎΫΰϋύὐὑὒὓὔὕὖὗὙὛὝὟὺύῠῡῢΰῦῧῨῩῪΎ
ω ΏώὠὡὢὣὤὥὦὧὨὩὪὫὬὭὮὯὼώᾠᾡᾢᾣᾤᾥᾦᾧᾨᾩᾪᾫᾬᾭᾮᾯῲῳῴῶῷῺΏῼ`

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
