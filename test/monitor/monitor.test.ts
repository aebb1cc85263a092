/** The watch against the simulator and against servers that are no QEMU: every state and every time-out. */

import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { dirname, join } from 'node:path'
import test from 'ava'
import { Monitor, QmpError } from '../../ts/monitor/index.ts'
import { QmpSimulator } from '../../ts/monitor/simulator.ts'
import { describe, failure, freePort, listen, simulate, sleep, socketPath, until, watch } from './support.ts'

/** Short, where a test waits for silence. */
const SHORT_MS = 150

test('the run state is known when connect resolves', async t => {
  for (const running of [true, false]) {
    const simulator = await simulate(t, { running })
    const { monitor, events } = await watch(t, { address: simulator.address })
    t.is(monitor.running, running)
    t.is(monitor.status, running ? 'running' : 'paused')
    t.true(monitor.connected)
    t.true(monitor.local)
    t.is(monitor.address, simulator.address)
    t.deepEqual(events, [])
  }
})

test('STOP and RESUME are told with the time of the event', async t => {
  const simulator = await simulate(t)
  const { monitor, events, next } = await watch(t, { address: simulator.address })
  simulator.emit('STOP', undefined, { seconds: 1_700_000_000, microseconds: 123_456 })
  const stop = await next(event => event.type === 'run_state')
  t.deepEqual(stop, {
    type: 'run_state',
    running: false,
    status: 'stopped',
    cause: 'STOP',
    atNs: 1_700_000_000_123_456_000n,
  })
  simulator.setStatus('paused')
  simulator.resumeVm()
  await next(event => event.type === 'run_state' && event.running)
  t.true(monitor.running)
  t.deepEqual(describe(events), ['run_state stopped STOP timed', 'run_state running RESUME timed'])
})

test('the reason of a STOP is asked for and becomes the status', async t => {
  const simulator = await simulate(t)
  const { monitor, events } = await watch(t, { address: simulator.address })
  simulator.stopVm('finish-migrate')
  await until(() => monitor.status === 'finish-migrate')
  t.deepEqual(describe(events), ['run_state stopped STOP timed'])
})

test('SHUTDOWN and RESET are told and do not move the run state', async t => {
  const simulator = await simulate(t)
  const { monitor, events, next } = await watch(t, { address: simulator.address })
  simulator.emit('SHUTDOWN', { guest: true, reason: 'guest-shutdown' })
  simulator.emit('RESET', undefined, { seconds: -1, microseconds: -1 })
  const reset = await next(event => event.type === 'vm_event' && event.name === 'RESET')
  t.true(monitor.running)
  t.is(monitor.status, 'running')
  t.like(events[0], { type: 'vm_event', name: 'SHUTDOWN', data: { guest: true, reason: 'guest-shutdown' } })
  const arrival = reset.type === 'vm_event' ? Number(reset.timeNs / 1_000_000n) : 0
  t.true(
    Math.abs(Date.now() - arrival) < 5_000,
    'without a time of its own, an event has that of its arrival',
  )
})

test('a guest that suspends and wakes up moves the run state although no STOP and RESUME come', async t => {
  const simulator = await simulate(t)
  const { monitor, events, next } = await watch(t, { address: simulator.address })
  simulator.setStatus('suspended')
  simulator.emit('SUSPEND')
  await next(event => event.type === 'run_state' && !event.running)
  t.is(monitor.status, 'suspended')
  simulator.setStatus('running')
  simulator.emit('WAKEUP')
  await next(event => event.type === 'run_state' && event.running)
  t.deepEqual(describe(events), [
    'vm_event SUSPEND',
    'run_state stopped query',
    'vm_event WAKEUP',
    'run_state running query',
  ])
})

test('a STOP that crosses the first answer, before it or after it, leaves the VM stopped', async t => {
  for (const fault of ['beforeAnswer', 'afterAnswer'] as const) {
    const simulator = await simulate(t)
    simulator.faults[fault] = command => {
      if (command === 'query-status') simulator.stopVm()
    }
    const { monitor } = await watch(t, { address: simulator.address })
    await until(() => monitor.status === 'paused')
    t.false(monitor.running, fault)
  }
})

test('a RESUME that crosses the first answer, before it or after it, leaves the VM running', async t => {
  for (const fault of ['beforeAnswer', 'afterAnswer'] as const) {
    const simulator = await simulate(t, { running: false })
    simulator.faults[fault] = command => {
      if (command === 'query-status') simulator.resumeVm()
    }
    const { monitor } = await watch(t, { address: simulator.address })
    await until(() => monitor.running)
    t.is(monitor.status, 'running', fault)
  }
})

test('bytes that come one by one are understood', async t => {
  const simulator = await simulate(t)
  simulator.faults.pieceBytes = 1
  const { monitor, next } = await watch(t, { address: simulator.address })
  await monitor.command('stop')
  await next(event => event.type === 'run_state')
  t.false(monitor.running)
})

test('unknown messages, keys and ids are ignored', async t => {
  const simulator = await simulate(t)
  const { monitor, events } = await watch(t, { address: simulator.address })
  simulator.sendRaw('{"news":1}\r\n{"return":{},"id":4711}{"return":{},"id":"x"}{"error":{}}{"QMP":{}}\r\n')
  simulator.sendRaw('{"event":"RESET","data":{"new":[1]},"timestamp":null,"more":true}\r\n')
  t.like(await monitor.command('query-status'), { running: true })
  t.deepEqual(describe(events), ['vm_event RESET'])
})

test('a command that the VM refuses rejects with its class', async t => {
  const simulator = await simulate(t)
  const { monitor } = await watch(t, { address: simulator.address })
  const error = await t.throwsAsync(monitor.command('nope'), { instanceOf: QmpError })
  t.is(error.code, 'QMP_ERROR')
  t.is(error.class, 'CommandNotFound')
  t.is(error.desc, 'The command nope has not been found')
})

test('a command to a frozen VM times out, the connection stays, and the late answer is ignored', async t => {
  const simulator = await simulate(t)
  const { monitor, events } = await watch(t, { address: simulator.address })
  simulator.faults.answerDelayMs = SHORT_MS
  const error = await failure(t, monitor.command('query-status', undefined, { timeoutMs: SHORT_MS / 3 }))
  t.is(error.code, 'MONITOR_TIMEOUT')
  t.regex(error.message, /did not answer query-status within 0\.05 s/)
  delete simulator.faults.answerDelayMs
  t.like(await monitor.command('query-status'), { running: true })
  await sleep(SHORT_MS)
  t.true(monitor.connected)
  t.deepEqual(events, [])
})

test('a lost monitor keeps the state, is told once, and comes back', async t => {
  const simulator = await simulate(t, { running: false })
  const { monitor, events, next } = await watch(t, { address: simulator.address })
  simulator.faults.mute = true
  const pending = failure(t, monitor.command('query-status'))
  await simulator.close()
  await next(event => event.type === 'lost')
  t.false(monitor.running)
  t.false(monitor.connected)
  t.is((await failure(t, monitor.command('query-status'))).code, 'MONITOR_LOST')
  t.is((await pending).code, 'MONITOR_LOST')
  await sleep(400)
  t.deepEqual(describe(events), ['lost'])

  await simulate(t, { address: simulator.address, running: false })
  await next(event => event.type === 'regained')
  t.true(monitor.connected)
  t.like(await monitor.command('query-status'), { running: false })
  t.deepEqual(describe(events), ['lost', 'regained'])
})

test('a state that changed meanwhile is told after the return, without a time', async t => {
  const simulator = await simulate(t)
  const { monitor, events, next } = await watch(t, { address: simulator.address })
  await simulator.close()
  await next(event => event.type === 'lost')
  t.true(monitor.running)
  const statuses: string[] = []
  monitor.onEvent(({ type }) => statuses.push(`${type} ${monitor.status}`))
  const again = await simulate(t, { address: simulator.address, running: false })
  await next(event => event.type === 'run_state')
  t.deepEqual(describe(events), ['lost', 'regained', 'run_state stopped query'])
  t.deepEqual(statuses, ['regained paused', 'run_state paused'], 'the return is told with the new state')
  again.resumeVm()
  await next(event => event.type === 'run_state' && event.running)
  t.is(describe(events).at(-1), 'run_state running RESUME timed')
})

test('a STOP that crosses the answer after the return is told after it, with its time', async t => {
  const simulator = await simulate(t)
  const { events, next } = await watch(t, { address: simulator.address })
  simulator.faults.beforeAnswer = command => {
    if (command !== 'query-status') return
    delete simulator.faults.beforeAnswer
    simulator.emit('MIGRATION', { status: 'completed' })
    simulator.stopVm()
  }
  simulator.dropClient()
  await next(event => event.type === 'vm_event')
  t.deepEqual(describe(events), ['lost', 'regained', 'run_state stopped STOP timed', 'vm_event MIGRATION'])
})

test('while it is lost, silence, nonsense and hang-ups are tried again without a word', async t => {
  const simulator = await simulate(t)
  const { events, next } = await watch(t, { address: simulator.address, connectTimeoutMs: SHORT_MS })
  simulator.faults.greeting = 'close'
  simulator.dropClient()
  await sleep(300)
  simulator.faults.greeting = { text: 'SSH-2.0-OpenSSH_9.2\r\n' }
  await sleep(500)
  simulator.faults.greeting = 'silent'
  await sleep(600)
  delete simulator.faults.greeting
  await next(event => event.type === 'regained', 10_000)
  t.deepEqual(describe(events), ['lost', 'regained'])
})

test('a monitor that stops talking QMP is lost', async t => {
  const simulator = await simulate(t)
  const { events, next } = await watch(t, { address: simulator.address })
  simulator.sendRaw('Segmentation fault\r\n')
  await next(event => event.type === 'regained')
  t.like(events[0], {
    type: 'lost',
    reason: "it sent what is not QMP (not a JSON object): 'Segmentation fault'",
  })
})

test('over TCP a listener on this host has a trusted time', async t => {
  const port = await freePort()
  const simulator = await simulate(t, { address: `127.0.0.1:${port}` })
  const { monitor, next } = await watch(t, { address: `tcp:localhost:${port}` })
  t.true(monitor.local)
  t.is(monitor.address, `localhost:${port}`)
  simulator.stopVm()
  t.is(describe([await next(event => event.type === 'run_state')])[0], 'run_state stopped STOP timed')
})

test('a time that this host has not reached yet is not trusted', async t => {
  const simulator = await simulate(t)
  const { events, next } = await watch(t, { address: simulator.address })
  simulator.emit('STOP', undefined, { seconds: Math.floor(Date.now() / 1000) + 60, microseconds: 0 })
  await next(event => event.type === 'run_state')
  t.is(describe(events)[0], 'run_state stopped STOP')
})

test('a missing socket is not found', async t => {
  const address = socketPath(t)
  const error = await failure(t, Monitor.connect({ address }))
  t.is(error.code, 'MONITOR_NOT_FOUND')
  t.is(error.message, `no monitor at ${address}: no such socket (ENOENT)`)
  t.regex(error.hint ?? '', /-qmp unix:PATH,server=on,wait=off/)
})

test('a host name without an address is not found', async t => {
  const error = await failure(t, Monitor.connect({ address: 'tapferry.invalid:4444' }))
  t.is(error.code, 'MONITOR_NOT_FOUND')
  t.regex(error.message, /host name has no address/)
})

test('a port and a socket without a listener refuse', async t => {
  const port = await freePort()
  const tcp = await failure(t, Monitor.connect({ address: `127.0.0.1:${port}` }))
  t.is(tcp.code, 'MONITOR_REFUSED')
  t.is(tcp.message, `the monitor 127.0.0.1:${port} refused the connection (ECONNREFUSED)`)

  // As a killed QEMU leaves it: the socket's file without its listener.
  const path = socketPath(t)
  const orphan = spawn(process.execPath, [
    '-e',
    `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
  ])
  await new Promise(resolve => orphan.once('exit', resolve))
  const unix = await failure(t, Monitor.connect({ address: path }))
  t.is(unix.code, 'MONITOR_REFUSED')
  t.regex(unix.hint ?? '', /remove what an earlier one left/)
})

test('a file and a directory are no monitor', async t => {
  const file = socketPath(t, 'file')
  writeFileSync(file, '')
  for (const [address, kind] of [
    [file, 'a regular file'],
    [dirname(file), 'a directory'],
  ] as const) {
    const error = await failure(t, Monitor.connect({ address, wait: true }))
    t.is(error.code, 'MONITOR_NOT_QMP')
    t.is(error.message, `${address} is not a QMP monitor: it is ${kind}`)
  }
})

// Serial: the user is the whole process's.
test.serial('a socket that this user may not open is a matter of permission', async t => {
  if (process.getuid?.() !== 0) {
    const simulator = await simulate(t)
    chmodSync(simulator.address, 0)
    const error = await failure(t, Monitor.connect({ address: simulator.address }))
    t.is(error.code, 'MONITOR_PERMISSION')
    return
  }
  // Root may open every socket, so another user tries.
  const directory = dirname(socketPath(t))
  chmodSync(directory, 0o755)
  mkdirSync(join(directory, 'closed'), { mode: 0o700 })
  const simulator = await simulate(t, { address: join(directory, 'closed', 'monitor.sock') })
  const uid = 65_534
  process.seteuid?.(uid)
  try {
    const error = await failure(t, Monitor.connect({ address: simulator.address, wait: true }))
    t.is(error.code, 'MONITOR_PERMISSION')
    t.regex(error.hint ?? '', /as the user that owns the socket/)
  } finally {
    process.seteuid?.(0)
  }
})

test('a monitor that another client holds is busy, and says how to get a second one', async t => {
  const simulator = await simulate(t)
  await watch(t, { address: simulator.address })
  const started = performance.now()
  const error = await failure(t, Monitor.connect({ address: simulator.address, connectTimeoutMs: SHORT_MS }))
  t.true(performance.now() - started >= 2 * SHORT_MS, 'it tried twice')
  t.is(error.code, 'MONITOR_BUSY')
  t.regex(error.message, /another client holds this monitor/)
  t.regex(error.message, new RegExp(`pid ${process.pid}`))
  t.regex(error.hint ?? '', /-qmp unix:PATH,server=on,wait=off; `tapferry doctor` tells how with libvirt/)
})

test('a client that leaves during the time-out makes room', async t => {
  const simulator = await simulate(t)
  const first = await watch(t, { address: simulator.address })
  setTimeout(() => first.monitor.close(), SHORT_MS * 1.5)
  const { monitor } = await watch(t, { address: simulator.address, connectTimeoutMs: SHORT_MS })
  t.true(monitor.connected)
})

test('a VM that greets and then falls silent is told from a busy one', async t => {
  const simulator = await simulate(t)
  simulator.faults.mute = true
  const error = await failure(t, Monitor.connect({ address: simulator.address, connectTimeoutMs: SHORT_MS }))
  t.is(error.code, 'MONITOR_TIMEOUT')
  t.regex(error.message, /did not answer qmp_capabilities/)
})

test('a peer that hangs up before its greeting refuses', async t => {
  const simulator = await simulate(t)
  simulator.faults.greeting = 'close'
  const error = await failure(t, Monitor.connect({ address: simulator.address }))
  t.is(error.code, 'MONITOR_REFUSED')
  t.regex(error.message, /hung up before its greeting/)
})

test('a human monitor is called by its name', async t => {
  const simulator = await simulate(t)
  simulator.faults.greeting = { text: "QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) " }
  const error = await failure(t, Monitor.connect({ address: simulator.address, wait: true }))
  t.is(error.code, 'MONITOR_NOT_QMP')
  t.regex(error.message, /is a human monitor \(HMP\)/)
})

test('what sends something else is not QMP', async t => {
  const cases: [sent: string | Buffer, message: RegExp][] = [
    ['SSH-2.0-OpenSSH_9.2\r\n', /it sent 'SSH-2\.0-OpenSSH_9\.2'/],
    ['{"hello":1}\r\n', /it sent '\{"hello":1\}'/],
    ['{"return":{}}\r\n', /as a guest agent does/],
    [Buffer.from([0xff, 0xfb, 0x01, 0xff, 0xfb, 0x03]), /speaks telnet/],
  ]
  for (const [sent, message] of cases) {
    const path = socketPath(t)
    await listen(t, { path }, socket => socket.write(sent))
    const error = await failure(t, Monitor.connect({ address: path }))
    t.is(error.code, 'MONITOR_NOT_QMP')
    t.regex(error.message, message)
  }
})

test('an HTTP server, which waits to be spoken to, is not QMP', async t => {
  const port = await freePort()
  const server = createHttpServer()
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const error = await failure(
    t,
    Monitor.connect({ address: `127.0.0.1:${port}`, connectTimeoutMs: SHORT_MS }),
  )
  t.is(error.code, 'MONITOR_NOT_QMP')
  t.regex(error.message, /it sent 'HTTP\/1\.1 400 Bad Request'/)
})

test('a greeting that comes only with the probe is a greeting', async t => {
  const path = socketPath(t)
  await listen(t, { path }, socket => {
    socket.on('data', data => {
      const { execute, id } = JSON.parse(data.toString())
      const probed = execute === 'qmp_capabilities'
      const answer = probed ? {} : { running: true, status: 'running' }
      socket.write(`${probed ? '{"QMP":{}}' : ''}${JSON.stringify({ return: answer, id })}\r\n`)
    })
  })
  const { monitor } = await watch(t, { address: path, connectTimeoutMs: SHORT_MS })
  t.true(monitor.running)
})

test('wait goes through missing and busy, tells each once, and connects', async t => {
  const path = socketPath(t)
  const reasons: string[] = []
  const waiting = watch(t, {
    address: path,
    wait: true,
    connectTimeoutMs: SHORT_MS,
    onWaiting: reason => reasons.push(reason.code),
  })
  await sleep(400)
  const simulator = await QmpSimulator.listen({ address: path })
  t.teardown(() => simulator.close())
  simulator.faults.greeting = 'silent'
  await until(() => reasons.includes('MONITOR_BUSY'), 10_000)
  delete simulator.faults.greeting
  const { monitor } = await waiting
  t.true(monitor.connected)
  t.deepEqual(reasons, ['MONITOR_NOT_FOUND', 'MONITOR_BUSY'])
})

test('an aborted connect ends at once with the reason, wherever it stands', async t => {
  const silent = await simulate(t)
  silent.faults.greeting = 'silent'
  const mute = await simulate(t)
  mute.faults.mute = true
  const missing = socketPath(t)
  for (const address of [missing, silent.address, mute.address]) {
    const controller = new AbortController()
    const reason = new Error('enough')
    setTimeout(() => controller.abort(reason), 50)
    const started = performance.now()
    const error = await t.throwsAsync(Monitor.connect({ address, wait: true, signal: controller.signal }))
    t.is(error, reason, address)
    t.true(performance.now() - started < 2_500, address)
  }
  const over = AbortSignal.abort(new Error('before'))
  await t.throwsAsync(Monitor.connect({ address: missing, signal: over }), { message: 'before' })
})

test('close ends everything, twice too, and tells nobody', async t => {
  const simulator = await simulate(t)
  const { monitor, events } = await watch(t, { address: simulator.address })
  simulator.faults.mute = true
  const pending = failure(t, monitor.command('query-status'))
  await monitor.close()
  await monitor.close()
  t.is((await pending).code, 'MONITOR_LOST')
  t.false(monitor.connected)
  t.is((await failure(t, monitor.command('query-status'))).code, 'MONITOR_LOST')
  await until(() => simulator.clients === 0)
  t.deepEqual(events, [])
})

test('a listener may close the watch from inside any event', async t => {
  for (const type of ['lost', 'regained', 'run_state'] as const) {
    const simulator = await simulate(t)
    const { monitor, events } = await watch(t, { address: simulator.address })
    monitor.onEvent(event => {
      if (event.type === type) monitor.close()
    })
    simulator.dropClient()
    if (type === 'run_state') simulator.stopVm()
    await until(
      () => events.at(-1)?.type === type,
      5_000,
      () => `${type}: ${describe(events)}`,
    )
    simulator.setStatus('running')
    await sleep(300)
    t.is(events.at(-1)?.type, type)
    t.false(monitor.connected)
    t.is(simulator.clients, 0)
  }
})

test('a process ends by itself once its watch is closed, whether connected or lost', async t => {
  const simulator = await simulate(t)
  const index = new URL('../../ts/monitor/index.ts', import.meta.url)
  const script = (close: string): string => `
    import { Monitor } from ${JSON.stringify(index.href)}
    const monitor = await Monitor.connect({ address: ${JSON.stringify(simulator.address)} })
    monitor.command('query-status').catch(() => {})
    ${close}
    console.log('closed')`
  const run = async (code: string, before?: (text: string) => void): Promise<[number | null, string]> => {
    const child = spawn(
      process.execPath,
      ['--import', '@oxc-node/core/register', '--input-type=module', '-e', code],
      {
        cwd: new URL('../..', import.meta.url),
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    let output = ''
    child.stdout.on('data', data => {
      output += data
      before?.(output)
    })
    const killer = setTimeout(() => child.kill(), 15_000)
    const status = await new Promise<number | null>(resolve => child.once('exit', resolve))
    clearTimeout(killer)
    return [status, output]
  }
  t.deepEqual(await run(script('await monitor.close()')), [0, 'closed\n'])
  const lost = `
    monitor.onEvent(() => setTimeout(() => monitor.close().then(() => console.log('gone')), 50))
    console.log('drop')`
  const answer = await run(script(lost), output => {
    if (output.includes('drop') && simulator.clients > 0) {
      simulator.faults.greeting = 'silent'
      simulator.dropClient()
    }
  })
  t.deepEqual(answer, [0, 'drop\nclosed\ngone\n'])
})
