/** `tapferry run` with streams, as a user runs it; peers are in the test, interfaces in a lab. */

import { readdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { QmpSimulator } from '../../ts/monitor/simulator.ts'
import { SimulatedFilters } from '../monitor/filters.ts'
import { type Finished, ROOT, Running, records, run, TAPFERRY, tapferry } from '../support/cli.ts'
import { temporaryDirectory } from '../support/directory.ts'
import { type Lab, labTest, orSkip } from '../support/lab.ts'
import { assertValid } from '../support/schema.ts'
import { acceptPaused, plugChardev, plugFilter, probe, record, StreamPeer, until } from '../support/stream.ts'
import { needsQemu, Vm } from '../support/vm.ts'

function start(t: ExecutionContext, command: readonly [file: string, args: readonly string[]]): Running {
  const running = new Running(command)
  t.teardown(async () => {
    await running.stop('SIGKILL')
  })
  return running
}

function relay(t: ExecutionContext, ...args: readonly string[]): Running {
  return start(t, [TAPFERRY, ['run', ...args]])
}

function summary({ stdout }: Finished): Record<string, unknown> {
  return records(stdout).find(({ type }) => type === 'summary') ?? {}
}

labTest('frames of an interface are written to a stream as records', async (t, lab) => {
  const path = join(temporaryDirectory(t), 'out')
  await lab.ask('tap', { name: 'tapA' })
  const running = start(t, lab.inside(TAPFERRY, 'run', '--in-netdev=tapA', `--outdev=unix:${path},server`))
  t.is(
    await running.ready(),
    `tapferry: ready: tapA -> unix:${path} (listening), frames to the guest, gate open (no monitor)`,
  )
  const peer = await StreamPeer.connect(t, path)
  await running.line(/unix:.*\/out/)
  await lab.ask('send', { netdev: 'tapA', count: 3 })
  const expected = Buffer.concat([0, 1, 2].map(number => record(probe(0, number))))
  await peer.has(expected.length)
  t.deepEqual(peer.received, expected)
  const { status, stderr } = await running.stop()
  t.is(status, 0)
  t.regex(stderr, /^ {2}forwarded +3 /m)
  t.notRegex(stderr, /lost at output/)
})

labTest('records of a stream are injected, and the words for a queue are left out', async (t, lab) => {
  const path = join(temporaryDirectory(t), 'in')
  await lab.ask('tap', { name: 'tapB' })
  const args = [`--indev=unix:${path},server`, '--out-netdev=tapB', '--json']
  const running = start(t, lab.inside(TAPFERRY, 'run', ...args))
  t.regex(await running.ready(), /^tapferry: ready: unix:.* -> tapB, every frame that comes in, gate open/)
  const peer = await StreamPeer.connect(t, path)
  peer.write(record(probe(0, 0)), record(probe(0, 1)))
  const received = await lab.ask('received', { netdev: 'tapB', atLeast: 2 })
  t.is(received['frames'], 2)
  const finished = await running.stop()
  t.like(summary(finished), { indev: `unix:${path}`, out_netdev: 'tapB', engine: 'stream', forwarded: 2 })
  for (const line of records(finished.stdout)) assertValid(t, 'run', line)
})

test('a whole run between streams: lines of every kind, and the end of a descriptor', async t => {
  const directory = temporaryDirectory(t)
  const [inside, outside] = [join(directory, 'in'), join(directory, 'out')]
  const ends = [`--indev=unix:${inside},server`, `--outdev=unix:${outside},server`]
  const running = relay(t, ...ends, '--json', '--stats-interval=50ms')
  await running.ready()
  const source = await StreamPeer.connect(t, inside)
  await running.line(/"input_back"/)
  source.write(record(probe(0, 0)))
  await running.line(/"dropped_no_peer":1,/)
  const first = await StreamPeer.connect(t, outside)
  await running.line(/"output_back"/)
  source.write(record(probe(0, 1)))
  await first.has(record(probe(0, 1)).length)
  first.close()
  await running.line(/"output_missing"/)
  source.write(Buffer.from('ffffffffffffffff', 'hex'))
  await source.closed()
  await running.line(/"input_missing"/)
  const finished = await running.stop()
  const lines = records(finished.stdout)
  for (const line of lines) assertValid(t, 'run', line)
  t.like(lines[0], { type: 'ready', indev: `unix:${inside}`, outdev: `unix:${outside}` })
  t.false('queue' in (lines[0] ?? {}))
  t.true(lines.some(({ event, code }) => event === 'input_missing' && code === 'framing_error'))
  const changes = lines.filter(({ event }) => /^(in|out)put_/.test(String(event)))
  t.true(changes.every(({ stream }) => stream === `unix:${inside}` || stream === `unix:${outside}`))
  t.like(summary(finished), {
    end: 'stopped',
    captured: 2,
    forwarded: 1,
    dropped_no_peer: 1,
    framing_errors: 1,
  })
})

test('a client that finds nobody fails, and with --wait it waits', async t => {
  const directory = temporaryDirectory(t)
  const path = join(directory, 'peer')
  const ends = [`--indev=unix:${join(directory, 'in')},server`, `--outdev=unix:${path}`, '--json']
  const [error] = records((await tapferry('run', ...ends)).stdout)
  t.like(error, { type: 'error', code: 'STREAM_UNREACHABLE', exit_status: 1 })

  const running = relay(t, ...ends, '--wait')
  await running.line(/"waiting"/)
  const server = createServer().listen(path)
  t.teardown(() => server.close())
  await running.ready()
  const lines = records((await running.stop()).stdout)
  for (const line of lines) assertValid(t, 'run', line)
  t.like(lines[0], { event: 'waiting', stream: `unix:${path}` })
})

test('a socket that somebody listens on is not taken away', async t => {
  const directory = temporaryDirectory(t)
  const path = join(directory, 'taken')
  const server = createServer().listen(path)
  t.teardown(() => server.close())
  const ends = [`--indev=unix:${path},server`, `--outdev=unix:${join(directory, 'out')},server`]
  const { status, stderr } = await tapferry('run', ...ends)
  t.is(status, 1)
  t.true(stderr.includes(path), stderr)
})

test('a descriptor that was not handed over is refused, whatever has its number in this process', async t => {
  const [error] = records((await tapferry('run', '--indev=fd:21', '--outdev=fd:22', '--json')).stdout)
  t.like(error, { code: 'STREAM_INVALID', exit_status: 1 })
  t.regex(String(error?.['message']), /^indev 'fd:21' is no socket/)
})

/** The message about filters that are deaf. */
const ADVICE = /a filter-redirector of QEMU up to 10\.0 does not hear a peer that comes back: give the --qmp/g

test('without a monitor, a peer of outdev that comes back is worth an advice, once', async t => {
  const directory = temporaryDirectory(t)
  const path = join(directory, 'out')
  const running = relay(
    t,
    `--indev=unix:${join(directory, 'in')},server`,
    `--outdev=unix:${path},server`,
    '--json',
  )
  await running.ready()
  const times = (event: string) => records(running.stdout).filter(line => line['event'] === event).length
  for (const time of [1, 2, 3]) {
    const peer = await StreamPeer.connect(t, path)
    await running.until(() => times('output_back') === time, 'output_back')
    if (time === 1) t.notRegex(running.stderr, ADVICE, 'the first one has not been here before')
    peer.close()
    await running.until(() => times('output_missing') === time, 'output_missing')
  }
  const { stderr } = await running.stop()
  t.is([...stderr.matchAll(ADVICE)].length, 1)
})

test('with a monitor, a filter that is deaf is made anew: at the start, and when its peer is back', async t => {
  const directory = temporaryDirectory(t)
  const path = join(directory, 'c0')
  const vm = new SimulatedFilters()
  vm.chardev('c0', `unix:${path},server=on`, { deaf: true })
  vm.filter('r0', { indev: 'c0' })
  const simulator = await QmpSimulator.listen({ address: join(directory, 'qmp'), commands: vm.commands })
  t.teardown(() => simulator.close())
  const connections: { destroy(): void }[] = []
  const server = createServer(socket => connections.push(socket.on('error', () => {}))).listen(path)
  t.teardown(() => {
    for (const each of connections) each.destroy()
    server.close()
  })
  const ends = [`--indev=unix:${join(directory, 'in')},server`, `--outdev=unix:${path}`]
  const running = relay(t, ...ends, `--qmp=${simulator.address}`, '--json')
  await running.line(/"peer_revived"/)
  for (const chardev of vm.chardevs) chardev['frontend-open'] = false
  connections[0]?.destroy()
  await until(
    () => vm.changes.length === 4,
    () => 'the second cure',
  )
  await running.until(() => running.stdout.split('"peer_revived"').length === 3, 'the second peer_revived')
  await running.line(/"output_back"/)
  const finished = await running.stop()
  const revivals = records(finished.stdout).filter(({ event }) => event === 'peer_revived')
  t.is(revivals.length, 2)
  for (const revival of revivals) {
    assertValid(t, 'run', revival)
    t.like(revival, { stream: `unix:${path}`, filter: 'r0', chardev: 'c0' })
  }
  t.regex(
    finished.stderr,
    /filter-redirector 'r0' on hn0 of the VM was deaf to unix:.*\/c0, and was made anew/,
  )
  t.notRegex(finished.stderr, ADVICE)
})

test('-v tells how headers are read and written, and no mark between streams', async t => {
  const directory = temporaryDirectory(t)
  const vm = await QmpSimulator.listen({ address: join(directory, 'qmp') })
  t.teardown(() => vm.close())
  const indev = `--indev=unix:${join(directory, 'in')},server,vnet-hdr-support`
  const outdev = `--outdev=unix:${join(directory, 'out')},server,vnet-hdr-len=12`
  const running = relay(t, indev, outdev, `--qmp=${vm.address}`, '-v')
  await running.ready()
  await running.line(
    /^tapferry: engine \w+, indev vnet_hdr_support=on \(headers as they come\), outdev vnet_hdr_support=off \(headers of 12 bytes\)$/,
  )
  vm.emit('MIGRATION', { status: 'active' })
  await running.line(/^tapferry: \d\d:\d\d:\d\d\.\d{3} VM event MIGRATION \(active\)$/)
  const { stderr } = await running.stop()
  t.notRegex(stderr, /mark/)
})

test('the end of a descriptor that is written to is told as the failure that it is', async t => {
  const directory = temporaryDirectory(t)
  const path = join(directory, 'out')
  const [handed, peer] = await Promise.all([acceptPaused(path), StreamPeer.connect(t, path)])
  const args = ['run', `--indev=unix:${join(directory, 'in')},server`, '--outdev=fd:3']
  const running = new Running([TAPFERRY, args], { sockets: [handed] })
  t.teardown(async () => {
    await running.stop('SIGKILL')
  })
  await running.ready()
  const source = await StreamPeer.connect(t, join(directory, 'in'))
  peer.close()
  source.write(record(probe(0, 0)))
  const { status, stderr } = await running.end()
  t.is(status, 1)
  t.is(stderr.match(/its peer has closed it/g)?.length, 1, stderr)
})

test('a filter that stays deaf is warned of once', async t => {
  const directory = temporaryDirectory(t)
  const vm = new SimulatedFilters()
  vm.chardev('c0', `disconnected:unix:${join(directory, 'out')}`, { deaf: true })
  vm.filter('r0', { indev: 'c0' })
  vm.incurable = true
  const simulator = await QmpSimulator.listen({ address: join(directory, 'qmp'), commands: vm.commands })
  t.teardown(() => simulator.close())
  const ends = [
    `--indev=unix:${join(directory, 'in')},server`,
    `--outdev=unix:${join(directory, 'out')},server`,
  ]
  const running = relay(t, ...ends, `--qmp=${simulator.address}`, '--json')
  await running.line(/"peer_deaf"/)
  await StreamPeer.connect(t, join(directory, 'out'))
  await until(
    () => vm.changes.length >= 4,
    () => 'the second attempt',
  )
  const finished = await running.stop()
  const told = records(finished.stdout).filter(({ event }) => event === 'peer_deaf')
  t.is(told.length, 1)
  assertValid(t, 'run', told[0])
  t.like(told[0], { filter: 'r0', chardev: 'c0' })
  t.regex(finished.stderr, /warning: filter-redirector 'r0' of the VM does not hear its indev 'c0'/)
})

test('a filter with other headers is warned of once, at either end', async t => {
  const directory = temporaryDirectory(t)
  const [inside, outside] = [join(directory, 'in'), join(directory, 'out')]
  const vm = new SimulatedFilters()
  vm.chardev('c0', `disconnected:unix:${outside}`, { deaf: false })
  vm.chardev('c1', `disconnected:unix:${inside}`, { deaf: true })
  vm.filter('r0', { indev: 'c0', vnet_hdr_support: true })
  vm.filter('m0', { type: 'filter-mirror', outdev: 'c1', vnet_hdr_support: true })
  const simulator = await QmpSimulator.listen({ address: join(directory, 'qmp'), commands: vm.commands })
  t.teardown(() => simulator.close())
  const ends = [`--indev=unix:${inside},server`, `--outdev=unix:${outside},server`]
  const running = relay(t, ...ends, `--qmp=${simulator.address}`, '--json')
  const told = () => records(running.stdout).filter(({ event }) => event === 'peer_mismatch')
  await running.until(() => told().length === 2, 'both')
  await StreamPeer.connect(t, outside)
  await running.line(/"output_back"/)
  simulator.dropClient()
  await running.line(/"monitor_regained"/)
  vm.filter('r1', { indev: 'c0', vnet_hdr_support: true })
  await running.line(/"filter":"r1"/)
  const { stderr } = await running.stop()
  const setting = 'vnet_hdr_support'
  t.like(
    told().find(({ filter }) => filter === 'r0'),
    { stream: `unix:${outside}`, chardev: 'c0', setting },
  )
  t.like(
    told().find(({ filter }) => filter === 'm0'),
    { stream: `unix:${inside}`, chardev: 'c1', setting },
  )
  t.is(told().length, 3)
  for (const line of told()) assertValid(t, 'run', line)
  t.regex(
    stderr,
    /warning: filter-redirector 'r0' on hn0 of the VM reads .*\n {2}set --vnet-hdr-support=on here, or/,
  )
})

labTest('the length of the headers that a NIC takes is found behind its filter', async (t, lab) => {
  if (!(await orSkip(t, needsQemu()))) return
  const directory = temporaryDirectory(t)
  await lab.ask('tap', { name: 'tapA' })
  for (const name of ['tapB', 'tapC', 'tapD']) await lab.ask('tap', { name, held: false })
  const netdevs = { hn0: 'tapB', hn1: 'tapC' }
  const [hub, nics] = await Promise.all([
    Vm.start(lab, directory, { name: 'hub', netdevs, hub: true }),
    Vm.start(lab, directory, { name: 'nics', netdevs: { hn0: 'tapD' } }),
  ])
  t.teardown(() => Promise.all([hub.kill(), nics.kill()]))
  for (const [vm, name, wrong, right] of [
    [hub, 'hub', 12, 0],
    [nics, 'nics', 0, 12],
  ] as const) {
    const path = join(directory, name)
    await plugChardev(t, vm, 'c0', { path, server: true })
    await plugFilter(t, vm, 'r0', { type: 'filter-redirector', netdev: 'hn0', queue: 'tx', indev: 'c0' })
    const args = [
      '--in-netdev=tapA',
      `--outdev=unix:${path},vnet-hdr-len=${wrong}`,
      `--qmp=${vm.monitors[0]}`,
    ]
    const running = start(t, lab.inside(TAPFERRY, 'run', ...args, '--json'))
    const [line] = records(await running.line(/"peer_mismatch"/))
    assertValid(t, 'run', line)
    t.like(line, {
      filter: 'r0',
      chardev: 'c0',
      setting: 'vnet_hdr_len',
      hint: `set --vnet-hdr-len=${right}`,
    })
    await running.stop()
  }
})

labTest('frames on hold wait, are told as held, and are released at the end', async (t, lab) => {
  const path = join(temporaryDirectory(t), 'in')
  await lab.ask('tap', { name: 'tapB' })
  const args = [
    `--indev=unix:${path},server`,
    '--out-netdev=tapB',
    '--hold=3600000',
    '--stats-interval=100ms',
  ]
  const running = start(t, lab.inside(TAPFERRY, 'run', ...args, '--json'))
  t.regex(await running.ready(), /, released every 3600000 ms, gate open/)
  const peer = await StreamPeer.connect(t, path)
  peer.write(record(probe(0, 0)))
  await running.line(/"type":"statistics".*"held":1,/)
  t.is((await lab.ask('received', { netdev: 'tapB' }))['frames'], 0)
  t.like(summary(await running.stop()), { forwarded: 1, held: 0, dropped: 0 })
  t.is((await lab.ask('received', { netdev: 'tapB', atLeast: 1 }))['frames'], 1)
})

/** A run of `count` descriptors whose peers have closed them, from 3 on. */
async function ofClosedDescriptors(
  path: string,
  options: { args?: readonly string[]; count?: number; env?: NodeJS.ProcessEnv; lab?: Lab } = {},
): Promise<Finished> {
  const { args = ['--indev=fd:3', `--outdev=unix:${path},server`], count = 1, env = {}, lab } = options
  // A shell's redirection cannot open a socket; python or the like might not be here: node hands one over.
  const script = `
    const { createServer, connect } = require('node:net')
    const { spawn } = require('node:child_process')
    const handed = []
    const server = createServer(socket => {
      if (handed.push(socket) < ${count}) return
      const stdio = ['ignore', 'inherit', 'inherit', ...handed]
      const child = spawn('${TAPFERRY}', ['run', '--json', ...${JSON.stringify(args)}], { stdio })
      child.on('spawn', () => { for (const each of [...handed, ...peers]) each.destroy() })
      child.on('exit', status => process.exit(status))
    })
    const peers = []
    server.listen('${path}.fd', () => {
      for (let n = 0; n < ${count}; n += 1) peers.push(connect('${path}.fd'))
      server.unref()
    })
  `
  const [file, rest] = lab?.inside(process.execPath, '-e', script) ?? [process.execPath, ['-e', script]]
  return run(file, rest, { env })
}

/** An addon whose first redirector is known to have started long after it has. */
async function lateAddon(directory: string): Promise<NodeJS.ProcessEnv> {
  const late = join(directory, 'late.cjs')
  const [addon] = (await readdir(join(ROOT, 'dist'))).filter(name => name.endsWith('.node'))
  const script = `
    const addon = require('${join(ROOT, 'dist', addon ?? '')}')
    let delay = 400
    const start = async (...given) => {
      const patience = delay
      delay = 0
      const redirector = await addon.Redirector.start(...given)
      await new Promise(resolve => setTimeout(resolve, patience))
      return redirector
    }
    module.exports = { ...addon, Redirector: { start } }
  `
  await writeFile(late, script)
  return { NAPI_RS_NATIVE_LIBRARY_PATH: late }
}

function endedWell(t: ExecutionContext, { status, stdout, stderr }: Finished): void {
  t.is(status, 0, stderr)
  const lines = records(stdout)
  for (const line of lines) assertValid(t, 'run', line)
  // It has closed it before there is a reader: what happens at once is told after the beginning.
  t.deepEqual(
    lines.map(({ type, event }) => event ?? type),
    ['ready', 'input_closed', 'summary'],
  )
  t.like(lines[1], { stream: 'fd:3' })
  t.like(lines.at(-1), { end: 'input_closed' })
  const [ready, ...rest] = stderr.split('\n')
  t.regex(ready ?? '', /^tapferry: ready: fd:3 ->/)
  t.notRegex(rest.join('\n'), /\bready\b/)
}

test('a run of a descriptor ends well when its peer closes it', async t => {
  endedWell(t, await ofClosedDescriptors(join(temporaryDirectory(t), 'out')))
})

test('a run that ends before its start is known, as on a busy host, ends well too', async t => {
  const directory = temporaryDirectory(t)
  endedWell(t, await ofClosedDescriptors(join(directory, 'out'), { env: await lateAddon(directory) }))
})

labTest(
  'an object that ends before its start is known is not forgotten when another ends',
  async (t, lab) => {
    const directory = temporaryDirectory(t)
    await lab.ask('tap', { name: 'tapA' })
    const args = [3, 4].flatMap(fd => [
      `--chardev=socket,id=in${fd},fd=${fd}`,
      `--object=filter-redirector,id=r${fd},netdev=tapA,queue=tx,indev=in${fd}`,
    ])
    const env = await lateAddon(directory)
    const finished = await ofClosedDescriptors(join(directory, 'out'), { args, count: 2, env, lab })
    t.is(finished.status, 0, finished.stderr)
    const told = (wanted: string) =>
      records(finished.stdout).filter(({ type, event }) => (event ?? type) === wanted).length
    t.deepEqual([told('input_closed'), told('summary')], [2, 2], finished.stdout)
  },
)
