package view

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"mobileid/sdk/wire"
)

// line reports why s, a member of o, is not one visible line without blanks around it.
func (o object) line(name, s string, most int) error {
	switch {
	case utf8.RuneCountInString(s) > most:
		return o.member(name).bad("may have %d characters at most", most)
	case strings.TrimSpace(s) != s:
		return o.member(name).bad("begins or ends with a blank")
	}
	if err := wire.CheckText(s); err != nil {
		return o.member(name).bad("cannot be shown: %v", err)
	}
	return nil
}

// amount is money in the smallest unit of its currency.
type amount struct {
	currency string // ISO 4217; "": there is none
	minor    int64
}

// decimal is an amount as text: no sign, no leading zeros, at most 12 digits
// before the point, which keeps every sum of a batch exact.
var decimal = regexp.MustCompile(`^(0|[1-9][0-9]{0,11})(\.([0-9]{1,4}))?$`)

func readAmount(o object) (amount, error) {
	var a amount
	if err := o.only("currency", "amount"); err != nil {
		return a, err
	}
	currency, _ := o.of["currency"].(string)
	digits, ok := fraction(currency)
	if !ok {
		return a, o.member("currency").bad("must be a currency of ISO 4217, such as EUR")
	}
	text, ok := o.of["amount"].(string)
	if !ok {
		return a, o.member("amount").bad("must be a decimal number as text, such as \"12.50\"")
	}
	m := decimal.FindStringSubmatch(text)
	switch {
	case m == nil:
		return a, o.member("amount").bad("must be a decimal number such as \"12.50\", with 12 digits before the point at most")
	case len(m[3]) > digits:
		return a, o.member("amount").bad("has more decimals than %s has: %d", currency, digits)
	}
	for _, d := range m[1] + m[3] + strings.Repeat("0", digits-len(m[3])) {
		a.minor = a.minor*10 + int64(d-'0')
	}
	if a.minor == 0 {
		return a, o.member("amount").bad("must be more than nothing")
	}
	a.currency = currency
	return a, nil
}

// currencies are the codes of ISO 4217 that money is paid in.
const currencies = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLF CLP CNY COP CRC CUP CVE CZK " +
	"DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT " +
	"LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF " +
	"SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG"

// fraction is how many decimals the currency has, and whether it is one.
func fraction(currency string) (digits int, ok bool) {
	if len(currency) != 3 || strings.Contains(currency, " ") || !strings.Contains(currencies, currency) {
		return 0, false
	}
	switch currency {
	case "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF":
		return 0, true
	case "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND":
		return 3, true
	case "CLF", "UYW":
		return 4, true
	}
	return 2, true
}

// format writes the amount as the language does, with all decimals of its currency.
func (a amount) format(l *language) string {
	digits, _ := fraction(a.currency)
	s := fmt.Sprintf("%0*d", digits+1, a.minor)
	whole, rest := s[:len(s)-digits], s[len(s)-digits:]
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + l.thousands + whole[i:]
	}
	if rest != "" {
		whole += l.point + rest
	}
	return whole + "\u00a0" + a.currency
}

// likeIBAN finds what can be taken for an IBAN (ISO 13616).
var likeIBAN = regexp.MustCompile(`^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$`)

// readAccount reads an account: iban, checked, or bban, any other account number,
// which is checked too if it looks like an IBAN.
func readAccount(o object) (string, error) {
	if err := o.only("iban", "bban"); err != nil {
		return "", err
	}
	if len(o.of) != 1 {
		return "", o.bad("has either iban or bban")
	}
	for _, name := range []string{"iban", "bban"} {
		s, err := o.text(name, 34)
		if s == "" && err == nil {
			continue
		}
		if err != nil {
			return "", err
		}
		switch like := likeIBAN.MatchString(s); {
		case like && remainder97(s) == 1:
			return grouped(s), nil
		case like || name == "iban":
			return "", o.member(name).bad("is not a valid IBAN, written without blanks (ISO 13616)")
		}
		return s, nil
	}
	return "", o.bad("has either iban or bban")
}

// remainder97 is the check of ISO 7064 over an IBAN: 1 if it is right.
func remainder97(iban string) (rest int) {
	for _, c := range iban[4:] + iban[:4] {
		if c >= 'A' {
			rest = (rest*100 + int(c-'A') + 10) % 97
		} else {
			rest = (rest*10 + int(c-'0')) % 97
		}
	}
	return rest
}

// grouped writes an IBAN in groups of four.
func grouped(iban string) string {
	var sb strings.Builder
	for i, c := range iban {
		if i > 0 && i%4 == 0 {
			sb.WriteByte(' ')
		}
		sb.WriteRune(c)
	}
	return sb.String()
}
