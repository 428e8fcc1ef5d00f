package stack

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/firkin-dev/firkin-reconcile/network"
)

// nameTTL is how long a guest may remember where a machine is, in seconds.
const nameTTL = 5

// errNotQuery: not a question of a kind that is answered.
var errNotQuery = errors.New("not a query")

// query is a question of a guest's.
type query struct {
	header   dnsmessage.Header
	question dnsmessage.Question
	// name is the question's, in lower case and without the dot at its end.
	name string
}

func parseQuery(b []byte) (query, error) {
	var p dnsmessage.Parser
	header, err := p.Start(b)
	if err != nil {
		return query{}, err
	}
	if header.Response || header.OpCode != 0 {
		return query{}, errNotQuery
	}
	questions, err := p.AllQuestions()
	if err != nil {
		return query{}, err
	}
	if len(questions) != 1 {
		return query{}, errNotQuery
	}
	q := questions[0]
	return query{header: header, question: q, name: strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))}, nil
}

// local answers what is about machines; nil when it is not, and the host's resolvers are
// to be asked. A name without a dot lies in domain.
func (q query) local(domain string, lookup func(string) (netip.Addr, bool)) []byte {
	if q.question.Class != dnsmessage.ClassINET {
		return nil
	}
	if q.question.Type == dnsmessage.TypePTR && inSubnet(q.name) {
		return q.reply(dnsmessage.RCodeNameError)
	}
	name := q.name
	if domain != "" && name != "" && !strings.Contains(name, ".") {
		name += "." + domain
	}
	addr, ok := lookup(name)
	if !ok {
		return nil
	}
	if q.question.Type != dnsmessage.TypeA && q.question.Type != dnsmessage.TypeALL {
		return q.reply(dnsmessage.RCodeSuccess) // there is the name, and no such record
	}
	return q.reply(dnsmessage.RCodeSuccess, addr)
}

// within tells whether the name is one that a machine could have for a guest of domain.
func (q query) within(domain string) bool {
	return !strings.Contains(q.name, ".") || domain != "" && strings.HasSuffix(q.name, "."+domain)
}

// inSubnet tells whether a name for reverse lookup is of the machines' network.
func inSubnet(name string) bool {
	four := network.Subnet().Addr().As4()
	return strings.HasSuffix(name, fmt.Sprintf(".%d.%d.in-addr.arpa", four[1], four[0]))
}

// reply makes an answer without, or with one, address.
func (q query) reply(code dnsmessage.RCode, addrs ...netip.Addr) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: q.header.ID, Response: true, RecursionDesired: q.header.RecursionDesired,
		RecursionAvailable: true, Authoritative: len(addrs) > 0, RCode: code,
	})
	b.EnableCompression()
	// The question was read from a message, so it can be written into one.
	err := b.StartQuestions()
	if err == nil {
		err = b.Question(q.question)
	}
	if err == nil && len(addrs) > 0 {
		err = b.StartAnswers()
	}
	for _, a := range addrs {
		if err == nil {
			err = b.AResource(dnsmessage.ResourceHeader{
				Name: q.question.Name, Class: dnsmessage.ClassINET, TTL: nameTTL,
			}, dnsmessage.AResource{A: a.As4()})
		}
	}
	if err != nil {
		return nil
	}
	out, err := b.Finish()
	if err != nil {
		return nil
	}
	return out
}
