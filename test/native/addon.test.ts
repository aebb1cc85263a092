/** The addon as JavaScript meets it, on real TAPs; each exercise is a process in a lab's namespace. */

import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { ROOT, run } from '../support/cli.ts'
import { type Lab, labTest } from '../support/lab.ts'

const EXERCISE = fileURLToPath(new URL('exercise.ts', import.meta.url))

async function exercise<T>(t: ExecutionContext, lab: Lab, name: string): Promise<T> {
  await lab.ask('tap', { name: 'tapA' })
  await lab.ask('tap', { name: 'tapB' })
  const node = [process.execPath, '--import', '@oxc-node/core/register', EXERCISE, name]
  const [file, args] = lab.inside(...node)
  const { status, stdout, stderr } = await run(file, args, { cwd: ROOT })
  t.is(status, 0, stderr)
  return JSON.parse(stdout) as T
}

labTest('start and stop leave no descriptor and no socket behind', async (t, lab) => {
  const seen = await exercise<{ before: number; after: number; packetSockets: number }>(t, lab, 'cycles')
  t.is(seen.after, seen.before)
  t.is(seen.packetSockets, 0)
})

labTest('a failed start rejects with a code, what failed, and what to do', async (t, lab) => {
  await lab.ask('run', { command: ['ip', 'tuntap', 'add', 'dev', 'tun0', 'mode', 'tun'] })
  const seen = await exercise<{ failures: { code: string; message: string }[]; packetSockets: number }>(
    t,
    lab,
    'failures',
  )
  const codes = [
    'NETDEV_NOT_FOUND',
    'NETDEV_NOT_FOUND',
    'NETDEV_NAME_INVALID',
    'INVALID_OPTIONS',
    'NETDEV_NOT_ETHERNET',
  ]
  t.deepEqual(
    seen.failures.map(({ code }) => code),
    codes,
  )
  t.true(seen.failures[0]?.message.startsWith("in_netdev 'nope' not found"))
  t.true(seen.failures[1]?.message.startsWith("out_netdev 'nope' not found"))
  t.true(
    seen.failures.every(({ message }) => message.split('\n').length === 2),
    'a second line says what to do',
  )
  t.is(seen.packetSockets, 0)
})

labTest('events come in order, and statistics go on answering after the end', async (t, lab) => {
  const seen = await exercise<{ events: string[]; ordered: boolean; engines: string[] }>(t, lab, 'events')
  t.deepEqual(seen.events, ['ready', 'gate_closed', 'gate_opened', 'gate_closed', 'gate_opened'])
  t.true(seen.ordered)
  // A ring from the start, where a socket may not have room for a burst.
  const [open, ...ended] = seen.engines
  t.true(open === 'socket' || open === 'ring', open)
  t.deepEqual(ended, ['closed', 'closed', 'closed'])
})

labTest('redirectors of a worker that is terminated are stopped, and the process lives', async (t, lab) => {
  const seen = await exercise<{ during: number[]; after: number }>(t, lab, 'workers')
  t.true(
    seen.during.every(sockets => sockets > 0),
    `${seen.during}`,
  )
  t.is(seen.after, 0)
})
