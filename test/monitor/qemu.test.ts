/** The watch and the netdev ids against the real QEMU. */

import { spawnSync } from 'node:child_process'
import { accessSync, constants, readFileSync } from 'node:fs'
import { Monitor, type MonitorEvent } from '../../ts/monitor/index.ts'
import { resolveNetdev } from '../../ts/netdev/index.ts'
import { listNetClients } from '../../ts/vm/net-clients.ts'
import { QEMU, qmp, start, withQemu } from './qemu.ts'
import { describe, failure, freePort, sleep, socketPath, until, watch } from './support.ts'

async function processState(pid: number, state: string): Promise<void> {
  await until(() => readFileSync(`/proc/${pid}/stat`, 'utf8').includes(`) ${state} `))
}

withQemu('a VM that starts stopped, goes on and stops again is followed, over two monitors', async t => {
  const [one, two] = [socketPath(t), socketPath(t)]
  start(t, ['-S', ...qmp(`unix:${one}`), ...qmp(`unix:${two}`)])
  const { monitor, events, next } = await watch(t, { address: one, wait: true })
  const other = await watch(t, { address: two, wait: true })
  t.false(monitor.running)
  t.is(monitor.status, 'prelaunch')

  const before = Date.now()
  await other.monitor.command('cont')
  const resume = await next(event => event.type === 'run_state')
  t.true(monitor.running)
  t.is(monitor.status, 'running')
  const atMs = resume.type === 'run_state' ? Number((resume.atNs ?? 0n) / 1_000_000n) : 0
  t.true(atMs >= before && atMs <= Date.now(), 'the time is that of the host')

  await other.monitor.command('system_reset')
  await next(event => event.type === 'vm_event' && event.name === 'RESET')
  t.true(monitor.running)

  await other.monitor.command('stop')
  await next(event => event.type === 'run_state' && !event.running)
  await until(() => monitor.status === 'paused')
  t.deepEqual(runStates(events), ['run_state running RESUME timed', 'run_state stopped STOP timed'])
})

withQemu('STOP comes before the answer to stop', async t => {
  const path = socketPath(t)
  start(t, qmp(`unix:${path}`))
  const { monitor, events } = await watch(t, { address: path, wait: true })
  t.true(monitor.running)
  for (let round = 0; round < 20; round++) {
    await monitor.command('stop')
    t.false(monitor.running)
    await monitor.command('cont')
    t.true(monitor.running)
  }
  t.is(events.filter(event => event.type === 'run_state').length, 40)
})

withQemu('over TCP a VM on this host is local', async t => {
  const port = await freePort()
  start(t, qmp(`tcp:127.0.0.1:${port}`))
  const { monitor, next } = await watch(t, { address: `127.0.0.1:${port}`, wait: true })
  t.true(monitor.local)
  await monitor.command('stop')
  t.is(describe([await next(event => event.type === 'run_state')])[0], 'run_state stopped STOP timed')
})

withQemu('a monitor that another client holds is busy until that client leaves', async t => {
  const path = socketPath(t)
  const qemu = start(t, qmp(`unix:${path}`))
  const first = await watch(t, { address: path, wait: true })
  const error = await failure(t, Monitor.connect({ address: path, connectTimeoutMs: 300 }))
  t.is(error.code, 'MONITOR_BUSY')
  t.true(error.message.includes(`pid ${qemu.pid}`), error.message)
  setTimeout(() => first.monitor.close(), 300)
  const second = await watch(t, { address: path })
  t.true(second.monitor.running)
})

withQemu('a VM whose process is stopped is told as frozen, with the backlog full as well', async t => {
  const [path, port] = [socketPath(t), await freePort()]
  const qemu = start(t, [...qmp(`unix:${path}`), ...qmp(`tcp:127.0.0.1:${port}`)])
  await (await Monitor.connect({ address: path, wait: true })).close()
  qemu.signal('SIGSTOP')
  await processState(qemu.pid, 'T')
  const waiting = new AbortController()
  for (const address of [path, `127.0.0.1:${port}`]) {
    const connect = (signal?: AbortSignal) =>
      Monitor.connect({ address, connectTimeoutMs: 300, ...(signal === undefined ? {} : { signal }) })
    const error = await failure(t, connect())
    t.is(error.code, 'MONITOR_FROZEN', address)
    t.true(error.message.includes(`${QEMU.slice(0, 15)}, pid ${qemu.pid}, state T`), error.message)
    t.true(error.hint?.includes(`kill -CONT ${qemu.pid}`), error.hint)
    const more = await Promise.all(Array.from({ length: 4 }, () => failure(t, connect(waiting.signal))))
    t.deepEqual(
      more.map(each => each.code),
      ['MONITOR_FROZEN', 'MONITOR_FROZEN', 'MONITOR_FROZEN', 'MONITOR_FROZEN'],
      address,
    )
  }
  const waits = watch(t, { address: path, wait: true, connectTimeoutMs: 300 })
  await sleep(400)
  qemu.signal('SIGCONT')
  t.true((await waits).monitor.running)
})

withQemu('a VM that freezes while it is watched loses nothing', async t => {
  const path = socketPath(t)
  const qemu = start(t, qmp(`unix:${path}`))
  const { monitor, events } = await watch(t, { address: path, wait: true })
  qemu.signal('SIGSTOP')
  await processState(qemu.pid, 'T')
  const error = await failure(t, monitor.command('stop', undefined, { timeoutMs: 200 }))
  t.is(error.code, 'MONITOR_TIMEOUT')
  t.true(monitor.connected)
  t.true(monitor.running)
  qemu.signal('SIGCONT')
  await until(() => monitor.status === 'paused')
  t.like(await monitor.command('query-status'), { running: false })
  t.deepEqual(describe(events), ['run_state stopped STOP timed'])
})

withQemu('a VM that is killed and started again on the same path is found again', async t => {
  const path = socketPath(t)
  const first = start(t, qmp(`unix:${path}`))
  const { monitor, events, next } = await watch(t, { address: path, wait: true })
  first.signal('SIGKILL')
  await first.ended
  await next(event => event.type === 'lost')
  t.true(monitor.running, 'the state is kept')
  t.is((await failure(t, Monitor.connect({ address: path }))).code, 'MONITOR_REFUSED')
  start(t, ['-S', ...qmp(`unix:${path}`)])
  await next(event => event.type === 'run_state')
  t.is(monitor.status, 'prelaunch')
  t.deepEqual(describe(events), ['lost', 'regained', 'run_state stopped query'])
})

withQemu('a VM that quits says so, and its state stays', async t => {
  const path = socketPath(t)
  const qemu = start(t, qmp(`unix:${path}`))
  const { monitor, events, next } = await watch(t, { address: path, wait: true })
  await monitor.command('quit')
  await qemu.ended
  await next(event => event.type === 'lost')
  t.true(monitor.running)
  t.deepEqual(describe(events), ['vm_event SHUTDOWN', 'lost'])
})

withQemu('a live migration is followed at both ends', async t => {
  const [from, to, link] = [socketPath(t), socketPath(t), socketPath(t)]
  start(t, qmp(`unix:${from}`))
  start(t, [...qmp(`unix:${to}`), '-incoming', `unix:${link}`])
  const source = await watch(t, { address: from, wait: true })
  const destination = await watch(t, { address: to, wait: true })
  t.is(destination.monitor.status, 'inmigrate')
  t.false(destination.monitor.running)
  for (const { monitor } of [source, destination]) {
    const capabilities = [{ capability: 'events', state: true }]
    await monitor.command('migrate-set-capabilities', { capabilities })
  }
  await source.monitor.command('migrate', { uri: `unix:${link}` })
  await destination.next(event => event.type === 'run_state', 10_000)
  await until(() => /^(finish|post)-?migrate$/.test(source.monitor.status))
  t.true(destination.monitor.running)
  t.deepEqual(runStates(source.events), ['run_state stopped STOP timed'])
  t.deepEqual(runStates(destination.events), ['run_state running RESUME timed'])
  t.true(describe(source.events).includes('vm_event MIGRATION'))
})

withQemu('pretty=on, telnet and the human monitor are told apart', async t => {
  const [pretty, human, telnet] = [socketPath(t), socketPath(t), await freePort()]
  start(t, [
    ...['-chardev', `socket,id=c0,path=${pretty},server=on,wait=off`],
    ...['-mon', 'chardev=c0,mode=control,pretty=on'],
    ...['-monitor', `unix:${human},server=on,wait=off`],
    ...qmp(`telnet:127.0.0.1:${telnet}`),
  ])
  const { monitor } = await watch(t, { address: pretty, wait: true })
  await monitor.command('stop')
  t.false(monitor.running)
  const hmp = await failure(t, Monitor.connect({ address: human }))
  t.is(hmp.code, 'MONITOR_NOT_QMP')
  t.regex(hmp.message, /is a human monitor \(HMP\)/)
  const iac = await failure(t, Monitor.connect({ address: `127.0.0.1:${telnet}` }))
  t.is(iac.code, 'MONITOR_NOT_QMP')
  t.regex(iac.message, /speaks telnet/)
})

withQemu('the largest answer that a VM gives is read', async t => {
  const path = socketPath(t)
  start(t, ['-S', ...qmp(`unix:${path}`)])
  const { monitor } = await watch(t, { address: path, wait: true })
  const schema = await monitor.command<unknown[]>('query-qmp-schema')
  t.true(schema.length > 500)
  t.true(JSON.stringify(schema).length > 100_000)
})

withQemu('netdev ids are resolved to the TAPs of the VM', async t => {
  const wrapper = privateNetwork()
  if (typeof wrapper === 'string') {
    t.log(`skipped: ${wrapper}`)
    t.pass()
    return
  }
  const path = socketPath(t)
  const tap = (id: string, more: string): string[] => [
    '-netdev',
    `tap,id=${id},script=no,downscript=no,${more}`,
    '-device',
    `virtio-net-pci,netdev=${id},id=nic-${id}`,
  ]
  const qemu = start(
    t,
    [
      ...qmp(`unix:${path}`),
      ...tap('hn0', 'ifname=tapferry0'),
      ...tap('mq0', 'ifname=tapferry1,queues=2'),
      ...['-netdev', 'socket,id=s0,udp=127.0.0.1:5555,localaddr=127.0.0.1:5556'],
      ...['-netdev', 'hubport,id=hp0,hubid=0'],
    ],
    wrapper,
  )
  const { monitor } = await watch(t, { address: path, wait: true })
  const netns = `/proc/${qemu.pid}/ns/net`
  t.deepEqual(await resolveNetdev('hn0', 'in_netdev', { monitor }), {
    interface: 'tapferry0',
    netns,
    id: 'hn0',
  })
  t.deepEqual(await resolveNetdev('mq0', 'out_netdev', { monitor }), {
    interface: 'tapferry1',
    netns,
    id: 'mq0',
  })
  t.deepEqual(await resolveNetdev('lo', 'out_netdev', { monitor }), { interface: 'lo' })
  t.is((await failure(t, resolveNetdev('s0', 'in_netdev', { monitor }))).code, 'NETDEV_ID_UNRESOLVED')
  t.deepEqual(await resolveNetdev('tapferry0', 'in_netdev', { monitor }), { interface: 'tapferry0', netns })
  const unknown = await failure(t, resolveNetdev('tapferry9', 'in_netdev', { monitor }))
  t.is(unknown.code, 'NETDEV_ID_UNKNOWN')
  t.regex(unknown.message, /the VM's netdevs are: /)
  t.like(
    (await listNetClients(monitor)).find(client => client.id === 'mq0'),
    { type: 'tap', interface: 'tapferry1', queues: 2, device: 'nic-mq0' },
  )
})

function runStates(events: readonly MonitorEvent[]): string[] {
  return describe(events.filter(event => event.type === 'run_state'))
}

/** A command that runs another one in its own network namespace, or why there is none. */
function privateNetwork(): string[] | string {
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK)
  } catch {
    return '/dev/net/tun cannot be opened'
  }
  const root = process.getuid?.() === 0
  const wrapper = ['unshare', '--net', ...(root ? [] : ['--user', '--map-root-user']), '--']
  const [command = '', ...args] = wrapper
  if (spawnSync(command, [...args, 'true']).status === 0) return wrapper
  return root ? 'unshare --net is refused' : 'no privilege and no user namespace'
}
