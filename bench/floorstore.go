package main

import (
	"bufio"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"sync"

	"modernc.org/sqlite"
)

// floorSQLite is one table in a file: one connection that writes and one that
// reads, on the driver itself, with prepared statements.
type floorSQLite struct {
	mu   sync.Mutex
	put  driver.StmtExecContext
	rmu  sync.Mutex
	find driver.StmtQueryContext
}

func openFloorSQLite(path string, durable bool) (*floorSQLite, error) {
	level := "OFF"
	if durable {
		level = "FULL"
	}
	s := &floorSQLite{}
	prepare := func(stmt string) (driver.Stmt, error) {
		c, err := new(sqlite.Driver).Open("file:" + (&url.URL{Path: path}).EscapedPath())
		if err != nil {
			return nil, err
		}
		for _, q := range []string{"PRAGMA busy_timeout = 5000", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = " + level,
			"CREATE TABLE IF NOT EXISTS t (k TEXT PRIMARY KEY, v BLOB NOT NULL)"} {
			if _, err := c.(driver.ExecerContext).ExecContext(context.Background(), q, nil); err != nil {
				return nil, fmt.Errorf("floor: %s: %w", q, err)
			}
		}
		return c.(driver.ConnPrepareContext).PrepareContext(context.Background(), stmt)
	}
	put, err := prepare("INSERT INTO t (k, v) VALUES (?1, ?2)")
	if err != nil {
		return nil, err
	}
	find, err := prepare("SELECT v FROM t WHERE k = ?1")
	if err != nil {
		return nil, err
	}
	s.put, s.find = put.(driver.StmtExecContext), find.(driver.StmtQueryContext)
	return s, nil
}

func (s *floorSQLite) set(key string, val []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.put.ExecContext(context.Background(), []driver.NamedValue{{Ordinal: 1, Value: key}, {Ordinal: 2, Value: val}})
	return err
}

func (s *floorSQLite) get(key string) ([]byte, error) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	rows, err := s.find.QueryContext(context.Background(), []driver.NamedValue{{Ordinal: 1, Value: key}})
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var v [1]driver.Value
	if err := rows.Next(v[:]); err != nil {
		return nil, err
	}
	b, _ := v[0].([]byte)
	return b, nil
}

// floorRedis speaks just enough of Redis' protocol, a connection a call.
type floorRedis struct {
	addr string
	mu   sync.Mutex
	idle []*redisConn
}

type redisConn struct {
	c net.Conn
	r *bufio.Reader
	b []byte
}

func newFloorRedis(addr string) *floorRedis { return &floorRedis{addr: addr} }

func (s *floorRedis) call(args ...string) ([]byte, error) {
	s.mu.Lock()
	var c *redisConn
	if n := len(s.idle); n > 0 {
		c, s.idle = s.idle[n-1], s.idle[:n-1]
	}
	s.mu.Unlock()
	if c == nil {
		nc, err := net.Dial("tcp", s.addr)
		if err != nil {
			return nil, err
		}
		c = &redisConn{c: nc, r: bufio.NewReader(nc)}
	}
	c.b = append(strconv.AppendInt(append(c.b[:0], '*'), int64(len(args)), 10), '\r', '\n')
	for _, a := range args {
		c.b = append(strconv.AppendInt(append(c.b, '$'), int64(len(a)), 10), '\r', '\n')
		c.b = append(append(c.b, a...), '\r', '\n')
	}
	if _, err := c.c.Write(c.b); err != nil {
		return nil, err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	var out []byte
	switch line[0] {
	case '+':
	case '$':
		n, err := strconv.Atoi(string(line[1 : len(line)-2]))
		if err != nil || n < 0 {
			return nil, errors.New("floor: no such key")
		}
		out = make([]byte, n+2)
		if _, err := io.ReadFull(c.r, out); err != nil {
			return nil, err
		}
		out = out[:n]
	default:
		return nil, fmt.Errorf("floor: Redis says %q", line)
	}
	s.mu.Lock()
	s.idle = append(s.idle, c)
	s.mu.Unlock()
	return out, nil
}

func (s *floorRedis) set(key string, val []byte) error {
	_, err := s.call("SET", key, string(val), "PX", "300000", "NX")
	return err
}

func (s *floorRedis) get(key string) ([]byte, error) { return s.call("GET", key) }
