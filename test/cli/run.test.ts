/** `tapferry run` as a user runs it, on TAPs in a network namespace of the test. */

import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { QmpSimulator } from '../../ts/monitor/simulator.ts'
import { type Finished, Running, records, run, TAPFERRY } from '../support/cli.ts'
import { temporaryDirectory } from '../support/directory.ts'
import { type Lab, labTest } from '../support/lab.ts'

const ENDS = ['--in-netdev=tapA', '--out-netdev=tapB']

async function twoTaps(lab: Lab): Promise<void> {
  await lab.ask('tap', { name: 'tapA' })
  await lab.ask('tap', { name: 'tapB' })
}

function start(t: ExecutionContext, lab: Lab, ...args: string[]): Running {
  const running = new Running(lab.inside(TAPFERRY, 'run', ...args))
  t.teardown(async () => {
    await running.stop('SIGKILL')
  })
  return running
}

function finish(lab: Lab, ...args: string[]): Promise<Finished> {
  return run(...lab.inside(TAPFERRY, 'run', ...args))
}

/** A simulated VM monitor. */
async function simulate(t: ExecutionContext, options: { running?: boolean } = {}): Promise<QmpSimulator> {
  const directory = temporaryDirectory(t)
  const simulator = await QmpSimulator.listen({ address: join(directory, 'qmp'), ...options })
  t.teardown(() => simulator.close())
  return simulator
}

/** The summary's counters, from --json. */
function summary({ stdout }: Finished): Record<string, unknown> {
  return records(stdout).find(({ type }) => type === 'summary') ?? {}
}

labTest('frames to the guest are forwarded, and the summary says how many', async (t, lab) => {
  await twoTaps(lab)
  const running = start(t, lab, ...ENDS)
  t.is(await running.ready(), 'tapferry: ready: tapA -> tapB, frames to the guest, gate open (no monitor)')
  await lab.ask('send', { netdev: 'tapA', count: 1000, rate: 20_000 })
  const received = await lab.ask('received', { netdev: 'tapB', atLeast: 1000 })
  t.is(received['frames'], 1000)
  const { status, stdout, stderr } = await running.stop('SIGINT')
  t.is(status, 0)
  t.is(stdout, '')
  t.regex(
    stderr,
    /^tapferry: summary: tapA -> tapB, \d.*\n {2}captured +1,000 +60\.0 kB\n {2}forwarded +1,000 +60\.0 kB\n {2}dropped +0$/m,
  )
  t.notRegex(stderr, /warning/)
})

labTest('frames of the other direction are none of its business, and that is said', async (t, lab) => {
  await twoTaps(lab)
  const running = start(t, lab, ...ENDS, '--json')
  await running.ready()
  await lab.ask('write', { netdev: 'tapA', count: 1000 })
  const finished = await running.stop()
  t.is(finished.status, 0)
  t.like(summary(finished), { captured: 0, forwarded: 0, dropped: 0 })
  t.regex(finished.stderr, /warning: nothing was forwarded: no frames to the guest came in on tapA$/m)
})

labTest('--queue=rx takes the frames from the guest', async (t, lab) => {
  await twoTaps(lab)
  const running = start(t, lab, ...ENDS, '--queue=rx', '--latency=low', '--json')
  t.regex(await running.ready(), /frames from the guest/)
  await lab.ask('write', { netdev: 'tapA', count: 100 })
  await lab.ask('send', { netdev: 'tapA', count: 50 })
  await lab.ask('received', { netdev: 'tapB', atLeast: 100, settleMs: 100 })
  t.like(summary(await running.stop()), { forwarded: 100 })
})

labTest('the started process is the one to signal, and it ends within a second', async (t, lab) => {
  await twoTaps(lab)
  const times: number[] = []
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGINT', 'SIGTERM'] as const) {
    const running = start(t, lab, ...ENDS)
    await running.ready()
    const asked = performance.now()
    const { status, signal: killedBy } = await running.stop(signal)
    times.push(performance.now() - asked)
    t.is(status, 0, signal)
    t.is(killedBy, null)
  }
  // One that is slow may be the machine's; all of them would be ours.
  t.true(Math.min(...times) < 1000, `${times.join(', ')} ms`)
})

labTest('SIGUSR1 prints statistics and opens no inspector', async (t, lab) => {
  await twoTaps(lab)
  const running = start(t, lab, ...ENDS)
  await running.ready()
  await lab.ask('send', { netdev: 'tapA', count: 10 })
  await lab.ask('received', { netdev: 'tapB', atLeast: 10 })
  running.signal('SIGUSR1')
  await running.line(/^tapferry: statistics: tapA -> tapB/)
  await running.line(/^ {2}forwarded +10 /)
  const { status, stderr } = await running.stop()
  t.is(status, 0)
  t.notRegex(stderr, /Debugger/)
})

labTest('--duration ends the run by itself', async (t, lab) => {
  await twoTaps(lab)
  const finished = await finish(lab, ...ENDS, '--duration=300ms', '--json')
  t.is(finished.status, 0)
  t.like(summary(finished), { end: 'duration' })
  const elapsed = Number(summary(finished)['elapsed_ms'])
  t.true(elapsed >= 295 && elapsed < 2000, String(elapsed))
})

labTest('--count forwards exactly so many frames', async (t, lab) => {
  await twoTaps(lab)
  const running = start(t, lab, ...ENDS, '--count=25', '--json')
  await running.ready()
  await lab.ask('send', { netdev: 'tapA', count: 100 })
  const finished = await running.end()
  t.is(finished.status, 0)
  t.like(summary(finished), { end: 'count', forwarded: 25 })
  t.is((await lab.ask('received', { netdev: 'tapB', atLeast: 25, settleMs: 100 }))['frames'], 25)
})

/** The JSON is a contract: exactly these fields, and no others. */
const STATISTICS_FIELDS = [
  ...['type', 'time', 'in_netdev', 'out_netdev', 'gate', 'status', 'running', 'engine'],
  ...['captured', 'captured_bytes', 'forwarded', 'forwarded_bytes', 'forwarded_late', 'held', 'held_bytes'],
  ...['dropped', 'dropped_gate_closed', 'dropped_pre_roll_full', 'dropped_hold_full', 'dropped_ring_full'],
  ...['dropped_too_long', 'dropped_output_down', 'dropped_output_missing', 'dropped_no_peer'],
  ...['dropped_output_full', 'dropped_truncated', 'dropped_malformed', 'dropped_unsupported_offload'],
  ...['dropped_refused', 'dropped_stopped', 'dropped_count_reached', 'lost_at_output'],
  ...['framing_errors', 'tls_failures'],
  ...['input_outages', 'input_outage_ms', 'output_outages', 'output_outage_ms', 'events_lost'],
]

labTest(
  '--json prints ready, statistics and summary as flat objects, and ready on stderr too',
  async (t, lab) => {
    await twoTaps(lab)
    const running = start(t, lab, ...ENDS, '--json', '--stats-interval=100ms')
    await running.line(/"type":"statistics"/)
    const { status, stdout, stderr } = await running.stop()
    t.is(status, 0)
    t.is(stderr.match(/\bready\b/g)?.length, 1)
    const [ready, ...rest] = records(stdout)
    const last = rest.pop()
    t.like(ready, {
      type: 'ready',
      in_netdev: 'tapA',
      out_netdev: 'tapB',
      queue: 'tx',
      gate: 'open',
      running: true,
    })
    t.true(rest.length > 0)
    for (const record of rest) t.deepEqual(Object.keys(record).sort(), [...STATISTICS_FIELDS].sort())
    t.is(last?.['type'], 'summary')
    t.deepEqual(Object.keys(last ?? {}).sort(), [...STATISTICS_FIELDS, 'end', 'elapsed_ms'].sort())
    for (const { time } of records(stdout)) t.regex(String(time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/)
  },
)

labTest('--stats-interval prints a line at a time', async (t, lab) => {
  await twoTaps(lab)
  const running = start(t, lab, ...ENDS, '--stats-interval=100ms')
  await running.line(
    /^tapferry: \d\d:\d\d:\d\d\.\d{3} captured 0, forwarded 0 \(0 B\), dropped 0, lost at output 0, gate open$/,
  )
  t.is((await running.stop()).status, 0)
})

labTest('--quiet leaves only the ready line and warnings', async (t, lab) => {
  await twoTaps(lab)
  const { status, stderr } = await finish(lab, ...ENDS, '--duration=50ms', '-q')
  t.is(status, 0)
  t.regex(stderr, /^tapferry: ready: .*\ntapferry: warning: nothing was forwarded: .*\n$/)
})

labTest('a reader of the JSON that goes away ends the run quietly', async (t, lab) => {
  await twoTaps(lab)
  const [file, args] = lab.inside(TAPFERRY, 'run', ...ENDS, '--json', '--stats-interval=20ms')
  const pipeline = `"$@" | head -n 1; exit "\${PIPESTATUS[0]}"`
  const { status, stdout, stderr } = await run('bash', ['-c', pipeline, 'bash', file, ...args])
  t.is(status, 0)
  t.is(records(stdout).length, 1)
  t.notRegex(stderr, /EPIPE|Error/)
})

labTest('a missing interface is named with the next step, status 5', async (t, lab) => {
  await lab.ask('tap', { name: 'tapA' })
  for (const [ends, role, name] of [
    [['--in-netdev=nope', '--out-netdev=tapA'], 'in_netdev', 'nope'],
    [['--in-netdev=tapA', '--out-netdev=nope'], 'out_netdev', 'nope'],
  ] as const) {
    const { status, stdout, stderr } = await finish(lab, ...ends)
    t.is(status, 5)
    t.is(stdout, '')
    t.regex(
      stderr,
      new RegExp(`^tapferry: error: ${role} '${name}' not found: .*\n {2}.*--wait.*\n {2}.*--qmp`),
    )
  }
})

labTest('a name that cannot be an interface has status 5, an object with --json', async (t, lab) => {
  const { status, stdout } = await finish(
    lab,
    '--in-netdev=a-name-of-qemu-netdev',
    '--out-netdev=b',
    '--json',
  )
  t.is(status, 5)
  t.like(records(stdout)[0], { type: 'error', code: 'NETDEV_NAME_INVALID', exit_status: 5 })
})

labTest('a missing privilege has status 3 and names it', async (t, lab) => {
  await twoTaps(lab)
  const unprivileged = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--']
  const { status, stderr } = await run(...lab.inside(...unprivileged, TAPFERRY, 'run', ...ENDS))
  t.is(status, 3)
  t.regex(stderr, /^tapferry: error: failed to create AF_PACKET socket .*\n {2}.*CAP_NET_RAW/)
})

labTest('--wait waits for interfaces, and says ready only then', async (t, lab) => {
  await lab.ask('tap', { name: 'tapA' })
  const running = start(t, lab, ...ENDS, '--wait')
  await running.line(/waiting for out_netdev 'tapB'/)
  t.notRegex(running.stderr, /ready/)
  running.signal('SIGUSR1')
  await running.line(/^tapferry: statistics/)
  await lab.ask('tap', { name: 'tapB' })
  await running.ready()
  await lab.ask('send', { netdev: 'tapA', count: 10 })
  t.is((await lab.ask('received', { netdev: 'tapB', atLeast: 10 }))['frames'], 10)
  t.is((await running.stop()).status, 0)
})

labTest('a stop while waiting is a good end', async (t, lab) => {
  const running = start(t, lab, ...ENDS, '--wait')
  await running.line(/waiting for/)
  const { status, stderr } = await running.stop()
  t.is(status, 0)
  t.notRegex(stderr, /ready|error/)
})

labTest('interfaces that go down and come back are told once each', async (t, lab) => {
  await twoTaps(lab)
  const running = start(t, lab, ...ENDS)
  await running.ready()
  await lab.ask('link', { name: 'tapB', up: false })
  await running.line(/^tapferry: \d\d:\d\d:\d\d\.\d{3} .*'tapB' is down/)
  await lab.ask('link', { name: 'tapB', up: true })
  await running.line(/'tapB' is up/)
  const { stderr } = await running.stop()
  t.regex(stderr, /^ {2}output outages +1 +tapB was down, missing or without a carrier for \d/m)
})

labTest('the gate follows the monitor', async (t, lab) => {
  await twoTaps(lab)
  const vm = await simulate(t)
  const running = start(t, lab, ...ENDS, `--qmp=${vm.address}`, '--json')
  t.regex(await running.ready(), /gate open \(VM running\)$/)
  await lab.ask('send', { netdev: 'tapA', count: 10 })
  await lab.ask('received', { netdev: 'tapB', atLeast: 10 })
  vm.stopVm()
  await running.line(/VM stopped/)
  await running.line(/"event":"gate_closed"/)
  await lab.ask('send', { netdev: 'tapA', count: 20, first: 100 })
  vm.resumeVm()
  await running.line(/VM running$/)
  await running.line(/"event":"gate_opened"/)
  await lab.ask('send', { netdev: 'tapA', count: 30, first: 200 })
  await lab.ask('received', { netdev: 'tapB', atLeast: 40, settleMs: 200 })
  const finished = await running.stop()
  t.like(summary(finished), { forwarded: 40, dropped_gate_closed: 20 })
  const events = records(finished.stdout).filter(({ event }) => event === 'run_state')
  t.deepEqual(
    events.map(({ running, cause }) => [running, cause]),
    [
      [false, 'STOP'],
      [true, 'RESUME'],
    ],
  )
})

labTest('a VM that is stopped at the start has a closed gate', async (t, lab) => {
  await twoTaps(lab)
  const vm = await simulate(t, { running: false })
  const running = start(t, lab, ...ENDS, `--qmp=${vm.address}`)
  t.regex(await running.ready(), /gate closed \(VM paused\)$/)
  const { stderr } = await running.stop()
  t.regex(stderr, /warning: nothing was forwarded: the gate is closed, and nothing came in on tapA/)
})

labTest('a lost monitor is told in one line, and so is its return', async (t, lab) => {
  await twoTaps(lab)
  const vm = await simulate(t)
  const running = start(t, lab, ...ENDS, `--qmp=${vm.address}`)
  await running.ready()
  vm.dropClient()
  await running.line(/warning: .*monitor lost: .*the gate stays as it is/)
  await running.line(/monitor regained: VM running$/)
  await lab.ask('send', { netdev: 'tapA', count: 10 })
  t.is((await lab.ask('received', { netdev: 'tapB', atLeast: 10 }))['frames'], 10)
  const { status, stderr } = await running.stop()
  t.is(status, 0)
  t.is(stderr.match(/monitor/g)?.length, 2)
})

labTest('a netdev id is resolved through the monitor', async (t, lab) => {
  await twoTaps(lab)
  const vm = await simulate(t)
  vm.infoNetwork = 'hn0: index=0,type=tap,ifname=tapA,script=no,downscript=no\r\n'
  const running = start(t, lab, '--in-netdev=hn0', '--out-netdev=tapB', `--qmp=${vm.address}`)
  t.regex(await running.ready(), /ready: hn0 \(tapA\) -> tapB,/)
  t.is((await running.stop()).status, 0)
})

labTest('a wrong netdev id has status 5 and lists the right ones', async (t, lab) => {
  await twoTaps(lab)
  const vm = await simulate(t)
  vm.infoNetwork = 'hn0: index=0,type=tap,ifname=tapA,script=no,downscript=no\r\n'
  const { status, stderr } = await finish(lab, '--in-netdev=hn7', '--out-netdev=tapB', `--qmp=${vm.address}`)
  t.is(status, 5)
  t.regex(stderr, /^tapferry: error: in_netdev 'hn7' not found: .*netdevs are: hn0/)
})

labTest('--wait waits for a netdev id that the VM gets later', async (t, lab) => {
  await twoTaps(lab)
  const vm = await simulate(t)
  const running = start(t, lab, '--in-netdev=hn0', '--out-netdev=tapB', `--qmp=${vm.address}`, '--wait')
  await running.line(/waiting for in_netdev 'hn0'/)
  t.notRegex(running.stderr, /ready/)
  vm.infoNetwork = 'hn0: index=0,type=tap,ifname=tapA,script=no,downscript=no\r\n'
  await running.ready()
  t.is((await running.stop()).status, 0)
})

labTest('a missing monitor has status 4, and --wait waits for it', async (t, lab) => {
  await twoTaps(lab)
  const directory = temporaryDirectory(t)
  const address = join(directory, 'qmp')
  const { status, stderr } = await finish(lab, ...ENDS, `--qmp=${address}`)
  t.is(status, 4)
  t.regex(stderr, /^tapferry: error: no monitor at .*\n {2}.*--wait/)

  const running = start(t, lab, ...ENDS, `--qmp=${address}`, '--wait')
  await running.line(/waiting for the monitor/)
  t.notRegex(running.stderr, /ready/)
  const vm = await QmpSimulator.listen({ address })
  t.teardown(() => vm.close())
  t.regex(await running.ready(), /VM running/)
  t.is((await running.stop()).status, 0)
})

labTest('statistics that are asked for too early are printed as soon as there are any', async (t, lab) => {
  await twoTaps(lab)
  const directory = temporaryDirectory(t)
  const address = join(directory, 'qmp')
  const running = start(t, lab, ...ENDS, `--qmp=${address}`, '--wait')
  await running.line(/waiting for the monitor/)
  running.signal('SIGUSR1')
  const vm = await QmpSimulator.listen({ address })
  t.teardown(() => vm.close())
  await running.line(/^tapferry: statistics: tapA -> tapB/)
  t.is((await running.stop()).status, 0)
})

labTest('a monitor that another client holds has status 4 and says so', async (t, lab) => {
  await twoTaps(lab)
  const vm = await simulate(t)
  const first = start(t, lab, ...ENDS, `--qmp=${vm.address}`)
  await first.ready()
  const { status, stderr } = await finish(lab, ...ENDS, `--qmp=${vm.address}`)
  t.is(status, 4)
  t.regex(stderr, /^tapferry: error: another client holds this monitor/)
})

labTest('--status=off captures nothing', async (t, lab) => {
  await twoTaps(lab)
  const running = start(t, lab, ...ENDS, '--status=off', '--json')
  t.regex(await running.ready(), /gate closed \(status=off\)$/)
  await lab.ask('send', { netdev: 'tapA', count: 10 })
  const finished = await running.stop()
  t.like(summary(finished), { captured: 0, forwarded: 0, status: 'off', engine: 'closed' })
  t.regex(finished.stderr, /nothing was forwarded: with status=off nothing is captured/)
})
