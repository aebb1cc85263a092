/** Netdev names against the simulator, with what QEMU 7.2.22 printed for these netdevs. */

import test, { type ExecutionContext } from 'ava'
import type { Monitor } from '../../ts/monitor/index.ts'
import { resolveNetdev } from '../../ts/netdev/index.ts'
import { parseInfoNetwork } from '../../ts/vm/info-network.ts'
import { listNetClients } from '../../ts/vm/net-clients.ts'
import { failure, simulate, watch } from './support.ts'

const INFO_NETWORK = `${String.raw`hub 0
 \ hp0
f0: index=0,type=tap,fd=3
f1: index=0,type=tap,fd=4
f1: index=0,type=tap,fd=5
b0: index=0,type=tap,helper=(null),br=br0
sc0: index=0,type=tap,ifname=tap,c,script=/bin/true,downscript=no
s0: index=0,type=socket,socket: udp=127.0.0.1:5555
lo: index=0,type=tap,ifname=tapx9,script=no,downscript=no
net1: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56
 \ mq0: index=0,type=tap,ifname=tapx1,script=no,downscript=no
net1: index=1,type=nic,
 \ mq0: index=1,type=tap,ifname=tapx1,script=no,downscript=no
nic0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:57
 \ hn0: index=0,type=tap,ifname=tapx0,script=no,downscript=no
nic2: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:58
 \ u0: index=0,type=user,net=10.0.2.0,restrict=off
filters:
  - fm: type=filter-mirror,vnet_hdr_support=false,outdev=ch0,position=tail,status=on,insert=behind,netdev=hn0,queue=tx
`.replaceAll('\n', '\r\n')}`

async function connect(t: ExecutionContext, infoNetwork = INFO_NETWORK): Promise<Monitor> {
  const simulator = await simulate(t, { infoNetwork })
  const { monitor } = await watch(t, { address: simulator.address })
  return monitor
}

test('without a monitor every name is an interface', async t => {
  t.deepEqual(await resolveNetdev('hn0', 'in_netdev'), { interface: 'hn0' })
})

test('an id becomes the interface of its TAP', async t => {
  const monitor = await connect(t)
  t.deepEqual(await resolveNetdev('hn0', 'in_netdev', { monitor }), {
    interface: 'tapx0',
    id: 'hn0',
    assumed: true,
  })
  t.deepEqual(await resolveNetdev('sc0', 'out_netdev', { monitor }), {
    interface: 'tap,c',
    id: 'sc0',
    assumed: true,
  })
})

test('all queues of a netdev are one interface', async t => {
  const monitor = await connect(t)
  t.deepEqual(await resolveNetdev('mq0', 'in_netdev', { monitor }), {
    interface: 'tapx1',
    id: 'mq0',
    assumed: true,
  })
  const clients = await listNetClients(monitor)
  t.like(
    clients.find(client => client.id === 'mq0'),
    { queues: 2, type: 'tap', device: 'net1' },
  )
})

test('an id wins over a host interface of the same name', async t => {
  const monitor = await connect(t)
  t.deepEqual(await resolveNetdev('lo', 'in_netdev', { monitor }), {
    interface: 'tapx9',
    id: 'lo',
    assumed: true,
  })
})

test('what a hub joins are netdevs without a device', async t => {
  const text = String.raw`hub 0
 \ p1: hn1: index=0,type=tap,ifname=tapB,script=no,downscript=no
 \ p2
 \ p0: hn0: index=0,type=tap,ifname=tapA,script=no,downscript=no
u0: index=0,type=user,net=10.0.2.0,restrict=off
`.replaceAll('\n', '\r\n')
  t.deepEqual(parseInfoNetwork(text), [
    { id: 'hn1', type: 'tap', interface: 'tapB', queues: 1 },
    { id: 'hn0', type: 'tap', interface: 'tapA', queues: 1 },
    { id: 'u0', type: 'user', queues: 1 },
  ])
  const monitor = await connect(t, text)
  t.like(await resolveNetdev('hn0', 'in_netdev', { monitor }), { interface: 'tapA', id: 'hn0' })
})

test('a name that is no id but a host interface stays as it is', async t => {
  const monitor = await connect(t, '')
  t.deepEqual(await resolveNetdev('lo', 'out_netdev', { monitor }), { interface: 'lo' })
})

test('a TAP that was passed by descriptor is told with the place of its name', async t => {
  const monitor = await connect(t)
  for (const [id, fd] of [
    ['f0', 3],
    ['f1', 4],
  ] as const) {
    const error = await failure(t, resolveNetdev(id, 'in_netdev', { monitor }))
    t.is(error.code, 'NETDEV_ID_UNRESOLVED')
    t.true(error.message.startsWith(`failed to resolve TAP ifname for in_netdev '${id}': `), error.message)
    t.true(error.message.includes(`as descriptor ${fd}`), error.message)
    t.true(error.hint?.includes('tapferry netdevs'), error.hint)
  }
})

test('a TAP that a helper made is told as such', async t => {
  const monitor = await connect(t)
  const error = await failure(t, resolveNetdev('b0', 'out_netdev', { monitor }))
  t.is(error.code, 'NETDEV_ID_UNRESOLVED')
  t.regex(error.message, /^failed to resolve TAP ifname for out_netdev 'b0': its TAP was made by a helper/)
})

test('a netdev that is no TAP is told with its type', async t => {
  const monitor = await connect(t)
  for (const [id, type] of [
    ['u0', 'user'],
    ['s0', 'socket'],
  ] as const) {
    const error = await failure(t, resolveNetdev(id, 'in_netdev', { monitor }))
    t.is(error.code, 'NETDEV_ID_UNRESOLVED')
    t.true(error.message.includes(`its backend is of type ${type},`), error.message)
  }
})

test('an unknown name is refused with the ids that there are', async t => {
  const monitor = await connect(t)
  const error = await failure(t, resolveNetdev('tapnone', 'in_netdev', { monitor }))
  t.is(error.code, 'NETDEV_ID_UNKNOWN')
  t.regex(error.message, /^in_netdev 'tapnone' not found: /)
  t.regex(error.message, /the VM's netdevs are: f0, f1, b0, sc0, s0, lo, mq0, hn0, u0$/)
  const none = await connect(t, '')
  t.regex(
    (await failure(t, resolveNetdev('x', 'out_netdev', { monitor: none }))).message,
    /that VM has no netdevs$/,
  )
})

test("a device's name is answered with its netdev's", async t => {
  const monitor = await connect(t)
  const error = await failure(t, resolveNetdev('nic0', 'in_netdev', { monitor }))
  t.is(error.code, 'NETDEV_ID_UNKNOWN')
  t.is(error.hint, "'nic0' is the device: its netdev is 'hn0'")
})

test('a lost monitor is told as such', async t => {
  const monitor = await connect(t)
  await monitor.close()
  t.is((await failure(t, resolveNetdev('hn0', 'in_netdev', { monitor }))).code, 'MONITOR_LOST')
})

test('lines of hubs and filters and nonsense are passed over', t => {
  t.deepEqual(parseInfoNetwork('hub 0\r\n \\ hp0\r\n\r\nwhat\r\n: index=0,type=tap\r\n'), [])
  t.deepEqual(
    parseInfoNetwork(INFO_NETWORK).map(client => client.id),
    ['f0', 'f1', 'b0', 'sc0', 's0', 'lo', 'net1', 'mq0', 'nic0', 'hn0', 'nic2', 'u0'],
  )
})
