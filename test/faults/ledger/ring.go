package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// slots is how many records a ring keeps: record n is in slot n%slots.
const slots = 256

// ring goes on after the newest record that is whole.
func ring(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	list, err := read(path)
	if err != nil {
		return err
	}
	for n := last(list) + 1; ; n++ {
		write(f, n, n%slots)
		if n%10 == 0 {
			fmt.Println(n)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// newest says the newest record. All that were written before it and not over are to be
// there too; the writer may go on meanwhile.
func newest(path string) error {
	list, err := read(path)
	if err != nil {
		return err
	}
	n := last(list)
	var missing error
	for range 3 { // a record that is being written looks torn
		if list, err = read(path); err != nil {
			return err
		}
		if missing = whole(list, n); missing == nil {
			fmt.Println(n)
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return missing
}

// whole says which of the records up to n is neither there nor written over.
func whole(list [slots]int64, n int64) error {
	// The slot after the newest may have been torn when its writer died.
	for want := max(0, n-slots+2); want <= n; want++ {
		if got := list[want%slots]; got < want {
			return fmt.Errorf("record %d is lost: there is %d in its place, and the newest is %d", want, got, n)
		}
	}
	return nil
}

// read returns the number in each slot, -1 where there is no whole record.
func read(path string) (list [slots]int64, err error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return list, err
	}
	for i := range list {
		list[i] = -1
		if len(data) < (i+1)*size {
			continue
		}
		slot := data[i*size : (i+1)*size]
		text, _, _ := bytes.Cut(slot, []byte("\n"))
		n, err := strconv.ParseInt(string(text), 10, 64)
		if err == nil && n%slots == int64(i) && bytes.Equal(slot, record(n)) {
			list[i] = n
		}
	}
	return list, nil
}

// last is the newest number, -1 if there is none.
func last(list [slots]int64) int64 {
	n := int64(-1)
	for _, v := range list {
		n = max(n, v)
	}
	return n
}
