/** `tapferry run` with -chardev and -object, as a user runs it: one object or several, and what is told of them. */

import { createServer } from 'node:net'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type Finished, Running, records, TAPFERRY, tapferry } from '../support/cli.ts'
import { temporaryDirectory } from '../support/directory.ts'
import { type Lab, labTest } from '../support/lab.ts'
import { assertValid } from '../support/schema.ts'
import { probe, record, StreamPeer } from '../support/stream.ts'

const MIRROR = 'filter-mirror,id=m0,netdev=tapA,queue=tx,outdev=c0'

async function start(t: ExecutionContext, lab: Lab, ...args: readonly string[]): Promise<Running> {
  for (const name of ['tapA', 'tapB']) await lab.ask('tap', { name })
  const running = new Running(lab.inside(TAPFERRY, 'run', ...args))
  t.teardown(async () => {
    await running.stop('SIGKILL')
  })
  return running
}

function summaries({ stdout }: Finished): Record<string, unknown>[] {
  return records(stdout).filter(({ type }) => type === 'summary')
}

test('--dry-run shows each object as a plan, and in options of tapferry; notes go to stderr', async t => {
  const line = [
    '-chardev',
    'socket,id=c0,path=/run/c0,server=on,wait=off',
    '-object',
    MIRROR,
    '-object',
    'iothread,id=t',
  ]
  const { status, stdout, stderr } = await tapferry('run', ...line, '--dry-run')
  t.is(status, 0)
  t.regex(stdout, /^object +m0$/m)
  t.regex(stdout, /^outdev +unix:\/run\/c0 \(server\)$/m)
  t.regex(stdout, /^command +tapferry run --in-netdev=tapA --queue=tx --outdev=unix:\/run\/c0,server$/m)
  t.is(stderr, "tapferry: note: iothread 't': left out, it has no part in frames\n")
  const { stdout: json } = await tapferry('run', ...line, '--dry-run', '--json')
  const lines = records(json)
  t.like(lines[0], { type: 'plan', object: 'm0', in_netdev: 'tapA' })
  for (const each of lines) assertValid(t, 'run', each)
})

test('the command of --dry-run is the same plan', async t => {
  const line = [
    '--chardev=socket,id=c0,path=/run/a b,server',
    `--object=${MIRROR}`,
    '--qmp',
    'vm.qmp',
    '--dry-run',
    '--json',
  ]
  const [first = {}] = records((await tapferry('run', ...line)).stdout)
  const words = ['--in-netdev=tapA', '--queue=tx', '--outdev=unix:/run/a b,server', '--qmp', 'vm.qmp']
  t.is(
    first['command'],
    `tapferry run ${words.join(' ').replace('--outdev=unix:/run/a b,server', "'--outdev=unix:/run/a b,server'")} --json`,
  )
  const [second = {}] = records((await tapferry('run', ...words, '--dry-run', '--json')).stdout)
  const { time: _, object: __, command: ___, ...plan } = first
  const { time: ____, ...native } = second
  t.deepEqual(plan, native)
})

test('a refusal is one line with its next step, and an object with a code', async t => {
  const line = ['-chardev', 'pty,id=c0', '-object', MIRROR]
  const { status, stderr } = await tapferry('run', ...line)
  t.is(status, 2)
  t.regex(stderr, /^tapferry: error: chardev 'c0': back end 'pty' is no socket, .*\n {2}write socket.*socat/)
  const [error] = records((await tapferry('run', ...line, '--json')).stdout)
  t.like(error, { type: 'error', code: 'QEMU_OPTION_UNSUPPORTED', exit_status: 2 })
})

labTest(
  'two objects are one run: one ready, frames of each, statistics and a summary of each',
  async (t, lab) => {
    const directory = temporaryDirectory(t)
    const [copies, input] = [join(directory, 'copies'), join(directory, 'input')]
    const running = await start(
      t,
      lab,
      ...['-chardev', `socket,id=c0,path=${copies},server=on,wait=off`, '-object', MIRROR],
      ...['-chardev', `socket,id=c1,path=${input},server,nowait`],
      ...['-object', 'filter-redirector,id=f0,netdev=tapB,queue=tx,indev=c1', '--json'],
    )
    t.regex(
      await running.ready(),
      /^tapferry: ready: m0: tapA -> unix:.*copies \(listening\), .*; f0: unix:.*input \(listening\) -> tapB, .*gate open/,
    )
    const [reader, writer] = [await StreamPeer.connect(t, copies), await StreamPeer.connect(t, input)]
    await running.line(/"object":"m0".*"output_back"/)
    await running.line(/"object":"f0".*"input_back"/)
    await lab.ask('send', { netdev: 'tapA', count: 3 })
    await reader.has(3 * record(probe(0, 0)).length)
    writer.write(record(probe(0, 0)), record(probe(0, 1)))
    const received = await lab.ask('received', { netdev: 'tapB', atLeast: 2 })
    t.is(received['frames'], 2)
    running.signal('SIGUSR1')
    await running.line(/"type":"statistics","time":"[^"]*","object":"f0"/)
    const finished = await running.stop()
    t.is(finished.status, 0)
    t.is(finished.stderr.match(/ready/g)?.length, 1)
    t.deepEqual(
      summaries(finished).map(({ object, forwarded }) => [object, forwarded]),
      [
        ['m0', 3],
        ['f0', 2],
      ],
    )
    for (const each of records(finished.stdout)) assertValid(t, 'run', each)
  },
)

labTest(
  'objects of one run may be joined by a socket, whichever comes first; the last end ends it',
  async (t, lab) => {
    const path = join(temporaryDirectory(t), 'pipe')
    const running = await start(
      t,
      lab,
      ...[
        '-chardev',
        `socket,id=c1,path=${path}`,
        '-chardev',
        `socket,id=c0,path=${path},server=on,wait=off`,
      ],
      ...['-object', 'filter-redirector,id=f0,netdev=tapB,queue=tx,indev=c1', '-object', MIRROR, '--count=5'],
    )
    await running.ready()
    await lab.ask('send', { netdev: 'tapA', count: 5 })
    const { status, stderr } = await running.end()
    t.is(status, 0)
    t.regex(stderr, /^tapferry: summary: f0: unix:.* -> tapB, /m)
    t.regex(stderr, /^tapferry: summary: m0: tapA -> unix:.*, /m)
    t.is(stderr.match(/^ {2}forwarded +5 /gm)?.length, 2)
  },
)

labTest('where both ends have server=on, the next step says so', async (t, lab) => {
  const path = join(temporaryDirectory(t), 'taken')
  const server = createServer().listen(path)
  t.teardown(() => server.close())
  const running = await start(
    t,
    lab,
    '-chardev',
    `socket,id=c0,path=${path},server=on`,
    '-object',
    MIRROR,
    '--json',
  )
  const { status, stderr, stdout } = await running.end()
  t.is(status, 1)
  t.like(records(stdout)[0], { code: 'STREAM_IN_USE' })
  t.regex(stderr, /of its two ends one is the server, so leave server=on out here$/m)
})
