/** Filters of QEMU that read or write other virtio-net headers than we do. */

import test, { type ExecutionContext } from 'ava'
import type { TapDescriptor } from '../../ts/binding.ts'
import { Monitor } from '../../ts/monitor/index.ts'
import { parseStreamEnd } from '../../ts/stream/address.ts'
import {
  compareHeaders,
  compareLength,
  compareSupport,
  lengthsBehind,
  type OwnHeaders,
} from '../../ts/vm/headers.ts'
import type { NetClient } from '../../ts/vm/info-network.ts'
import { type OppositeFilter, OtherEnd, type StreamRole } from '../../ts/vm/other-end.ts'
import { SimulatedFilters } from './filters.ts'
import { simulate } from './support.ts'

const STREAM = 'unix:/run/c0'

function own(role: StreamRole, vnetHdrSupport: boolean, length?: number): OwnHeaders {
  return { role, stream: STREAM, vnetHdrSupport, length }
}

/** The filters of a VM that are at the other end of a stream of ours. */
async function opposites(t: ExecutionContext, role: StreamRole, vm: SimulatedFilters) {
  const simulator = await simulate(t, { commands: vm.commands, infoNetwork: vm.infoNetwork })
  const monitor = await Monitor.connect({ address: simulator.address })
  t.teardown(() => monitor.close())
  const filters = await new OtherEnd(monitor, { role, ...parseStreamEnd(STREAM, `--${role}`) }).filters()
  return { monitor, filters }
}

test('at the other end of outdev are the redirectors that read it, deaf or not, on or off', async t => {
  const vm = new SimulatedFilters()
  vm.chardev('c0', 'unix:/run/c0,server=on', { deaf: false })
  vm.chardev('c1', 'unix:/run/c1,server=on', { deaf: true })
  vm.filter('r0', { indev: 'c0', status: 'off' })
  vm.filter('r1', { indev: 'c1', outdev: 'c0' })
  vm.filter('m0', { type: 'filter-mirror', outdev: 'c0' })
  const { filters } = await opposites(t, 'outdev', vm)
  t.deepEqual(
    filters.map(({ filter, netdev, chardev, listens }) => [filter.id, netdev, chardev, listens]),
    [['r0', 'hn0', 'c0', true]],
  )
})

test('at the other end of indev are the mirrors and redirectors that write to it', async t => {
  const vm = new SimulatedFilters()
  vm.chardev('c0', 'unix:/run/c0,server=on', { deaf: true })
  vm.filter('r0', { indev: 'c0' })
  vm.filter('r1', { outdev: 'c0' })
  vm.filter('m0', { type: 'filter-mirror', outdev: 'c0' })
  const { filters } = await opposites(t, 'indev', vm)
  t.deepEqual(
    filters.map(({ filter }) => [filter.type, filter.id]),
    [
      ['filter-redirector', 'r1'],
      ['filter-mirror', 'm0'],
    ],
  )
})

for (const theirs of [true, false]) {
  test(`vnet_hdr_support=${theirs ? 'on' : 'off'} there is what we must have, too`, async t => {
    const vm = new SimulatedFilters()
    vm.chardev('c0', 'unix:/run/c0,server=on', { deaf: false })
    vm.filter('r0', { indev: 'c0', vnet_hdr_support: theirs })
    const { monitor, filters } = await opposites(t, 'outdev', vm)
    const [r0] = filters
    if (r0 === undefined) throw new Error('r0 is not found')
    t.is(await compareHeaders(monitor, r0, own('outdev', theirs)), undefined)
    const [there, here] = theirs ? ['on', 'off'] : ['off', 'on']
    const mismatch = await compareHeaders(monitor, r0, own('outdev', !theirs, 12))
    t.like(mismatch, { filter: 'r0', chardev: 'c0', setting: 'vnet_hdr_support', wanted: theirs })
    t.is(
      mismatch?.message,
      `filter-redirector 'r0' on hn0 of the VM reads unix:/run/c0 with vnet_hdr_support=${there}, tapferry has ` +
        `--vnet-hdr-support=${here}: its guest gets garbage, or nothing`,
    )
    t.is(mismatch?.hint, `set --vnet-hdr-support=${there} here, or vnet_hdr_support=${here} there`)
  })
}

const MIRROR: OppositeFilter = {
  filter: { id: 'm0', type: 'filter-mirror', properties: { vnet_hdr_support: true } },
  ...{ netdev: 'hn0', chardev: 'c0', listens: false },
}

test('what a mirror writes is compared as well', t => {
  const { message = '' } = compareSupport(MIRROR, own('indev', false)) ?? {}
  t.regex(message, /^filter-mirror 'm0' on hn0 of the VM writes unix:\/run\/c0 with vnet_hdr_support=on/)
  t.regex(message, /: its frames are not understood$/)
})

test('a filter without the property says nothing', t => {
  const filter = { ...MIRROR.filter, properties: {} }
  t.is(compareSupport({ ...MIRROR, filter }, own('indev', true)), undefined)
})

test('a header of another length than that of the NIC is told, with the right one', t => {
  const { filter } = MIRROR
  const opposite = { ...MIRROR, filter: { ...filter, id: 'r0', type: 'filter-redirector' as const } }
  const compare = (length: number | undefined, lengths: number[]) =>
    compareLength(opposite, own('outdev', false, length), lengths)
  t.is(compare(12, [12]), undefined)
  t.is(compare(10, [12, 10, 20]), undefined)
  t.is(compare(undefined, [12]), undefined, 'the frames decide')
  t.like(compare(0, [12, 10, 20]), {
    setting: 'vnet_hdr_len',
    wanted: 12,
    message:
      "filter-redirector 'r0' of the VM takes virtio-net headers of 12 bytes, those of its netdev hn0, and tapferry " +
      'writes none to unix:/run/c0: its guest gets garbage, or nothing',
    hint: 'set --vnet-hdr-len=12',
  })
  t.like(compare(12, [0]), { wanted: 0, hint: 'set --vnet-hdr-len=0' })
  t.regex(compare(12, [0])?.message ?? '', /takes no virtio-net headers, .* writes 12 bytes to/)
})

const TAP: NetClient = { id: 'hn0', type: 'tap', queues: 1, device: 'net0' }
const VIRTIO: NetClient = { id: 'net0', type: 'nic', queues: 1, model: 'virtio-net-pci' }

function descriptor(bytes: number): TapDescriptor {
  const vnetHeader = bytes > 0
  return { interface: 'tap0', tap: true, multiQueue: false, vnetHeader, vnetHeaderBytes: bytes }
}

for (const [title, backend, device, bytes, expected] of [
  ['a virtio-net NIC on a TAP with headers has the length that it set there', TAP, VIRTIO, 12, [12]],
  ['one with hashes has 20', TAP, VIRTIO, 20, [20]],
  ['one whose guest may still boot has some header', TAP, VIRTIO, 10, [12, 10, 20]],
  ['vnet_hdr=off is none', TAP, VIRTIO, 0, [0]],
  ['an e1000 takes none', TAP, { ...VIRTIO, model: 'e1000' }, 10, [0]],
  ['an e1000e takes some', TAP, { ...VIRTIO, model: 'e1000e' }, 12, [12]],
  ['a hub takes none', TAP, undefined, 10, [0]],
  ['a backend without a TAP has none', { ...TAP, type: 'stream' }, VIRTIO, undefined, [0]],
  ['of a TAP that may not be looked at nothing is known', TAP, VIRTIO, undefined, undefined],
  ['of another backend nothing is known', { ...TAP, type: 'vhost-user' }, VIRTIO, undefined, undefined],
] as const) {
  test(title, t => {
    const tap = bytes === undefined ? undefined : descriptor(bytes)
    t.deepEqual(lengthsBehind(backend, device, tap), expected === undefined ? undefined : [...expected])
  })
}
