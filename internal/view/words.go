package view

import (
	"slices"
	"strings"
	"time"
)

// language is the words that templates put around what a merchant says, and how
// numbers and times are written.
type language struct {
	thousands, point string
	clock            string // layout of a time in UTC

	logIn, request, sign, payment, batch string // headings; %s is the client's name

	amount, payee, account, reference, total, payments string
	askedBy, browser, address, time                    string
}

// Languages lists what templates are written in, as tags of BCP 47; the first is
// spoken where nobody wishes for another.
func Languages() []string { return []string{"en", "nb", "de", "es"} }

func languageOf(tag string) *language {
	switch tag {
	case "nb":
		return norwegian()
	case "de":
		return german()
	case "es":
		return spanish()
	}
	return english()
}

// Language is the first of the wishes that templates are written in: de for de-AT;
// "en" if there is none.
func Language(wishes ...string) string {
	for _, wish := range wishes {
		main, _, _ := strings.Cut(strings.ReplaceAll(strings.ToLower(wish), "_", "-"), "-")
		if main == "no" || main == "nn" { // who reads either reads Bokmål
			main = "nb"
		}
		if slices.Contains(Languages(), main) {
			return main
		}
	}
	return "en"
}

func english() *language {
	return &language{thousands: ",", point: ".", clock: "2 Jan 2006, 15:04 UTC",
		logIn: "Log in to %s", request: "Request of %s", sign: "Sign for %s", payment: "Confirm a payment: %s", batch: "Confirm payments: %s",
		amount: "Amount", payee: "Payee", account: "Account", reference: "Reference", total: "Total", payments: "Payments",
		askedBy: "Asked by", browser: "Browser", address: "Address", time: "Time"}
}

func norwegian() *language {
	return &language{thousands: "\u00a0", point: ",", clock: "02.01.2006, 15:04 UTC",
		logIn: "Logg inn på %s", request: "Forespørsel fra %s", sign: "Signer for %s", payment: "Bekreft betaling: %s", batch: "Bekreft betalinger: %s",
		amount: "Beløp", payee: "Mottaker", account: "Konto", reference: "Referanse", total: "Totalt", payments: "Betalinger",
		askedBy: "Etterspurt av", browser: "Nettleser", address: "Adresse", time: "Tid"}
}

func german() *language {
	return &language{thousands: ".", point: ",", clock: "02.01.2006, 15:04 UTC",
		logIn: "Bei %s anmelden", request: "Anfrage von %s", sign: "Für %s unterschreiben", payment: "Zahlung bestätigen: %s", batch: "Zahlungen bestätigen: %s",
		amount: "Betrag", payee: "Empfänger", account: "Konto", reference: "Referenz", total: "Gesamt", payments: "Zahlungen",
		askedBy: "Gefragt von", browser: "Browser", address: "Adresse", time: "Zeit"}
}

func spanish() *language {
	return &language{thousands: ".", point: ",", clock: "02/01/2006, 15:04 UTC",
		logIn: "Iniciar sesión en %s", request: "Solicitud de %s", sign: "Firmar para %s", payment: "Confirmar un pago: %s", batch: "Confirmar pagos: %s",
		amount: "Importe", payee: "Beneficiario", account: "Cuenta", reference: "Referencia", total: "Total", payments: "Pagos",
		askedBy: "Solicitado por", browser: "Navegador", address: "Dirección", time: "Hora"}
}

func (l *language) at(t time.Time) string { return t.UTC().Format(l.clock) }
