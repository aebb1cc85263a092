/** What the addon tells of the host, each function once, about a lab's network namespace. */

import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import test from 'ava'
import { loadBinding } from '../../ts/native.ts'
import { temporaryDirectory } from '../support/directory.ts'
import { type Lab, labTest } from '../support/lab.ts'

const binding = loadBinding()

/** The file of the lab's namespace: `/proc/PID/ns/net`. */
function namespaceOf(lab: Lab): string {
  const [, args] = lab.inside()
  const option = args.find(argument => argument.startsWith('--net=')) as string
  return option.slice('--net='.length)
}

/** The first descriptor of the lab that holds this TAP. */
function descriptorOf(pid: number, name: string): number {
  const holds = (fd: string) => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8').includes(`iff:\t${name}\n`)
  return Number(readdirSync(`/proc/${pid}/fdinfo`).find(holds))
}

labTest('a namespace is told with its interfaces, packet sockets and rules', async (t, lab) => {
  await lab.ask('tap', { name: 'tapA', vnetHdr: 12, offloads: 'tcp', queues: 2, mtu: 9000 })
  await lab.ask('tap', { name: 'tapB', held: false })
  await lab.ask('bridge', { name: 'br0', ports: ['tapA'] })
  await lab.ask('watch', { netdev: 'tapB' })
  await lab.ask('run', { command: ['ip', 'rule', 'add', 'fwmark', '0x10/0xff', 'table', '100'] })
  const view = await binding.inspectNetwork(namespaceOf(lab))

  t.regex(view.namespace, /^net:\[\d+\]$/)
  t.deepEqual(
    view.interfaces.map(({ name, kind }) => [name, kind]),
    [
      ['lo', ''],
      ['tapA', 'tun'],
      ['tapB', 'tun'],
      ['br0', 'bridge'],
    ],
  )
  const [, tapA, tapB, bridge] = view.interfaces
  t.like(tapA, { ethernet: true, up: true, carrier: true, mtu: 9000, controller: bridge?.ifindex ?? -1 })
  t.like(tapA, { bridgePortState: 'forwarding', linkElsewhere: false, gsoMaxSize: 65536, filters: [] })
  t.deepEqual(tapA?.tun, {
    tap: true,
    vnetHeader: true,
    persistent: false,
    multiQueue: true,
    queues: 2,
    disabledQueues: 0,
  })
  t.true(tapA?.offloads.includes('tx-tcp-segmentation'))
  t.like(tapB, { carrier: false, tun: { persistent: true, queues: 1 } })
  t.false(tapB !== undefined && 'controller' in tapB, 'what there is not is absent')
  t.regex(tapB?.mac ?? '', /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/)
  t.like(view.packetSockets, [{ ifindex: tapB?.ifindex ?? -1, protocol: 3, running: true }])
  t.like(view.markRules, [{ mark: 0x10, mask: 0xff, table: 100, ipv6: false }])
})

labTest("filters of a namespace's interfaces are told", async (t, lab) => {
  await lab.ask('veth', { name: 'vethA', peer: 'vethB' })
  const tc = async (command: string) => await lab.ask('run', { command: ['tc', ...command.split(' ')] })
  await tc('qdisc add dev vethA clsact')
  const filter = 'filter add dev vethA egress prio 5 protocol ip u32 match u32 0 0'
  await tc(`${filter} action mirred egress mirror dev vethB`)
  const { interfaces } = await binding.inspectNetwork(namespaceOf(lab))
  const [vethA, vethB] = ['vethA', 'vethB'].map(wanted => interfaces.find(({ name }) => name === wanted))
  t.like(vethA?.filters, [
    { direction: 'egress', kind: 'u32', priority: 5, protocol: 0x800, actions: ['mirred'] },
  ])
  t.is(vethA?.link, vethB?.ifindex)
})

labTest("a TAP's descriptor in another process names interface and namespace", async (t, lab) => {
  await lab.ask('tap', { name: 'tapA', vnetHdr: 10 })
  const netns = namespaceOf(lab)
  const pid = Number(netns.split('/')[2])
  const { namespace } = await binding.inspectNetwork(netns)
  t.deepEqual(await binding.inspectTapDescriptor(pid, descriptorOf(pid, 'tapA')), {
    interface: 'tapA',
    namespace,
    tap: true,
    multiQueue: false,
    vnetHeader: true,
    vnetHeaderBytes: 10,
  })
})

labTest('privileges are tried in a namespace, and leave no socket there', async (t, lab) => {
  const probes = await binding.probePrivileges(namespaceOf(lab))
  t.deepEqual(
    probes.map(({ what }) => what),
    ['packet_socket', 'mark', 'receive_buffer', 'ring'],
  )
  // The buffer is refused in a user namespace, even to its root.
  const refused = probes.filter(({ allowed }) => !allowed)
  t.true(
    refused.every(probe => probe.what === 'receive_buffer' && probe.errno === 'EPERM' && probe.message),
    JSON.stringify(refused),
  )
  t.deepEqual((await binding.inspectNetwork(namespaceOf(lab))).packetSockets, [])
})

test('connected unix sockets know each other', async t => {
  const path = join(temporaryDirectory(t), 'monitor.sock')
  const server = createServer()
  t.teardown(() => server.close())
  await once(server.listen(path), 'listening')
  const client = connect(path)
  t.teardown(() => client.destroy())
  const [accepted] = await once(server, 'connection')
  t.teardown(() => accepted.destroy())
  const peers = await binding.inspectUnixPeers()
  const far = peers.find(end => end.path === path)
  const near = peers.find(end => end.inode === far?.peer)
  t.is(near?.peer, far?.inode)
  t.truthy(near)
})

test('clocks are told', t => {
  const clock = binding.inspectClock()
  t.true(clock.jiffyNs >= 1_000_000 && clock.jiffyNs <= 10_000_000)
  t.is(typeof clock.synchronized, 'boolean')
  t.true(clock.errorUs >= 0)
  t.true(Number.isInteger(clock.taiOffset))
})

test('what cannot be told rejects with a code, what failed, and what to do', async t => {
  const rejections: [code: string, asked: Promise<unknown>][] = [
    ['NETNS_NOT_FOUND', binding.inspectNetwork('/nonexistent')],
    ['NETNS_NOT_FOUND', binding.inspectUnixPeers('/proc/self/ns/mnt')],
    ['NETNS_NOT_FOUND', binding.probePrivileges('/nonexistent')],
    ['NETDEV_NOT_FOUND', binding.inspectTapDescriptor(process.pid, 9999)],
    ['NETDEV_NOT_FOUND', binding.inspectTapDescriptor(-1, 0)],
  ]
  for (const [code, asked] of rejections) {
    const error = await t.throwsAsync(asked, { code })
    t.is(error?.message.split('\n').length, 2, error?.message)
  }
})
