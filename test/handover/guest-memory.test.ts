/** What `info mtree -f` says, read into pieces of the guest's memory. */

import test from 'ava'
import { addressIn, parseFlatView } from '../../ts/vm/guest-memory.ts'

const SMALL = `FlatView #0
 AS "I/O", root: io
 Root memory region: io
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan

FlatView #1
 AS "cpu-smm-0", root: memory
 Root memory region: memory
  0000000000000000-00000000ffffffff (prio 0, ram): wrong

FlatView #2
 AS "memory", root: system
 AS "virtio-net-pci", root: bus master container
 Root memory region: system
  0000000000000000-00000000000c2fff (prio 0, ram): pc.ram
  00000000000c3000-00000000000e7fff (prio 0, rom): pc.ram @00000000000c3000
  00000000000e8000-00000000000effff (prio 0, ram): pc.ram @00000000000e8000
  0000000000100000-0000000007ffffff (prio 0, ram): pc.ram @0000000000100000
  00000000b0000000-00000000bfffffff (prio 0, i/o): pcie-mmcfg-mmio

FlatView #3
 AS "mch", root: bus master container
 Root memory region: (none)
  No rendered FlatView
`

const LARGE = [
  'FlatView #0',
  ' AS "memory", root: system',
  ' Root memory region: system',
  '  0000000000000000-000000007fffffff (prio 0, ram): pc.ram KVM',
  '  0000000100000000-00000001ffffffff (prio 0, ram): pc.ram @0000000080000000 KVM',
  '  0000000240000000-000000024fffffff (prio 0, ram): mem1 KVM',
].join('\r\n')

test('memory with holes of ROM is one piece', t => {
  t.deepEqual(parseFlatView(SMALL), [{ physical: 0n, length: 0x800_0000n }])
})

test('memory above 4 GiB and what was plugged in are further pieces', t => {
  t.deepEqual(parseFlatView(LARGE), [
    { physical: 0n, length: 0x8000_0000n },
    { physical: 0x1_0000_0000n, length: 0x1_0000_0000n },
    { physical: 0x2_4000_0000n, length: 0x1000_0000n },
  ])
})

test('what is no such answer has no memory', t => {
  t.deepEqual(parseFlatView("unknown command: 'info mtree'\r\n"), [])
})

test("an address of the guest's is looked up in its piece", t => {
  const memory = [
    { physical: 0n, address: 1000n, length: 100n },
    { physical: 500n, address: 5000n, length: 100n },
  ]
  t.is(addressIn(memory, 99n), 1099n)
  t.is(addressIn(memory, 100n), undefined)
  t.is(addressIn(memory, 599n), 5099n)
})
