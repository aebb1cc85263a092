/** Faults of ends that are datagrams: taken, missing, closed. Nothing is ever sent. */

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import test from 'ava'
import { checkDatagrams } from '../../ts/doctor/checks/datagrams.ts'
import type { DatagramEnd, SocketFile } from '../../ts/doctor/facts.ts'
import { isBound } from '../../ts/host/datagrams.ts'
import { parseDatagramAddress } from '../../ts/stream/datagrams.ts'
import { facts } from './facts.ts'

const FREE: SocketFile = { kind: 'none', writable: false, directory: 'writable', closedDirectories: [] }
const THERE: SocketFile = { kind: 'socket', writable: true, directory: 'writable', closedDirectories: [] }

const cases: readonly (readonly [
  role: DatagramEnd['role'],
  text: string,
  found: Pick<DatagramEnd, 'file' | 'bound'>,
  code: string,
  severity: string,
])[] = [
  ['indev', 'dgram:localhost:1', { file: undefined, bound: false }, 'STREAM_READY', 'ok'],
  ['indev', 'dgram:localhost:1', { file: undefined, bound: true }, 'STREAM_IN_USE', 'error'],
  ['indev', 'dgram:192.0.2.1:1', { file: undefined, bound: undefined }, 'STREAM_INVALID', 'error'],
  ['indev', 'dgram:unix:/a', { file: FREE, bound: false }, 'STREAM_READY', 'ok'],
  [
    'indev',
    'dgram:unix:/a',
    { file: { ...FREE, directory: 'missing' }, bound: false },
    'DIRECTORY_MISSING',
    'error',
  ],
  ['indev', 'dgram:unix:/a', { file: { ...THERE, kind: 'other' }, bound: false }, 'STREAM_INVALID', 'error'],
  ['outdev', 'dgram:unix:/a', { file: THERE, bound: true }, 'STREAM_READY', 'ok'],
  ['outdev', 'dgram:unix:/a', { file: FREE, bound: false }, 'STREAM_UNREACHABLE', 'warning'],
  ['outdev', 'dgram:unix:/a', { file: { ...THERE, writable: false }, bound: true }, 'PERMISSION', 'error'],
  ['outdev', 'dgram:192.0.2.1:1', { file: undefined, bound: undefined }, 'STREAM_READY', 'ok'],
]

for (const [index, [role, text, found, code, severity]] of cases.entries()) {
  test(`case ${index}: ${role} ${text} is ${code}`, t => {
    const { to, from } = parseDatagramAddress(text, `--${role}`)
    const end = { role, plan: { kind: 'datagram', to, from }, ...found } as const
    const [finding, ...others] = checkDatagrams(facts({ datagrams: [end] }))
    t.like(finding, { code, severity, about: `${role} ${text}` })
    t.is(others.length, 0)
  })
}

test('who is bound to a port of UDP is seen', async t => {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const place = { kind: 'udp', host: '127.0.0.1', port: socket.address().port } as const
  t.true(await isBound(place))
  for (const host of ['', '0.0.0.0', '::']) t.true(await isBound({ ...place, host }))
  // Another address with the same port is in nobody's way.
  t.false(await isBound({ ...place, host: '127.0.0.2' }))
  socket.close()
  await once(socket, 'close')
  for (const host of ['127.0.0.1', '', '0.0.0.0', '::']) t.false(await isBound({ ...place, host }))
  t.is(await isBound({ ...place, host: '192.0.2.1' }), undefined)
})
