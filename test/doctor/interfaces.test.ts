/** Faults of the interfaces themselves: missing, elsewhere, down, or leading nowhere. */

import { labTest, orSkip, Unavailable } from '../support/lab.ts'
import {
  cable,
  doctor,
  ENDS,
  finds,
  findsAndMends,
  found,
  namedLab,
  problems,
  shell,
  twoTaps,
} from './support.ts'

labTest('two good TAPs: no error, no warning, status 0, and with --strict, too', async (t, lab) => {
  await twoTaps(lab)
  for (const args of [ENDS, [...ENDS, '--strict']]) {
    const diagnosis = await doctor(t, lab, { args })
    t.deepEqual(problems(diagnosis), [])
    t.is(diagnosis.status, 0)
    t.is(found(diagnosis, 'INTERFACE_READY').length, 2)
  }
})

labTest('a warning is a failure only with --strict', async (t, lab) => {
  await twoTaps(lab)
  await lab.ask('link', { name: 'tapB', mtu: 1400 })
  const [lenient, strict] = [await doctor(t, lab), await doctor(t, lab, { args: [...ENDS, '--strict'] })]
  t.deepEqual([problems(lenient), lenient.status], [['MTU_SMALLER'], 0])
  t.deepEqual([problems(strict), strict.status], [['MTU_SMALLER'], 1])
})

labTest('macvtap as out_netdev: nothing that is injected reaches its guest', async (t, lab) => {
  await twoTaps(lab)
  await cable(lab, 'vethA', 'vethZ')
  const made = shell(lab, 'ip link add link vethA name macvtap0 type macvtap').then(
    () => true,
    () => Promise.reject(new Unavailable('this kernel has no macvtap')),
  )
  if (!(await orSkip(t, made))) return
  await lab.ask('link', { name: 'macvtap0', up: true })
  const { note } = await finds(t, lab, {
    ...{ code: 'MACVTAP_OUTPUT', severity: 'error', status: 5, about: 'out_netdev macvtap0' },
    message: /leaves through its card, and no guest gets it/,
    healthy: {},
    faulty: { args: ['--in-netdev=tapA', '--out-netdev=macvtap0'] },
  })
  t.regex(note ?? '', /a TAP on a bridge/)
})

for (const [role, netdev] of [
  ['in_netdev', 'tapA'],
  ['out_netdev', 'tapB'],
] as const) {
  labTest(`${role} is down`, async (t, lab) => {
    await twoTaps(lab)
    const { fix } = await findsAndMends(t, lab, {
      ...{ code: 'INTERFACE_DOWN', severity: 'error', status: 5, about: `${role} ${netdev}` },
      message: /^it is down: nothing/,
      seed: () => lab.ask('link', { name: netdev, up: false }),
    })
    t.is(fix, `ip link set dev ${netdev} up`)
  })
}

labTest("a veth's peer is down", async (t, lab) => {
  await lab.ask('tap', { name: 'tapB' })
  await cable(lab, 'vethA', 'vethZ')
  await findsAndMends(t, lab, {
    ...{ code: 'NO_CARRIER', severity: 'error', status: 5 },
    message: /no carrier: its peer vethZ is down/,
    faulty: { args: ['--in-netdev=vethA', '--out-netdev=tapB'] },
    seed: () => lab.ask('link', { name: 'vethZ', up: false }),
  })
})

labTest("a TAP's carrier was set off while its VM runs", async (t, lab) => {
  await twoTaps(lab)
  await findsAndMends(t, lab, {
    ...{ code: 'NO_CARRIER', severity: 'error', status: 5 },
    message: /no carrier: it was set off, and nothing can be injected into it/,
    seed: () => shell(lab, 'ip link set dev tapB carrier off'),
  })
})

labTest('no VM holds the TAP', async (t, lab) => {
  await twoTaps(lab)
  await lab.ask('tap', { name: 'tapC', held: false })
  const { fix, note } = await finds(t, lab, {
    ...{ code: 'NO_CARRIER', severity: 'error', status: 5, about: 'out_netdev tapC' },
    message: /no VM holds this TAP open/,
    healthy: {},
    faulty: { args: ['--in-netdev=tapA', '--out-netdev=tapC'] },
  })
  t.is(fix, undefined)
  t.regex(note ?? '', /start the VM/)
})

labTest('a typing error in the name', async (t, lab) => {
  await twoTaps(lab)
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'NETDEV_NOT_FOUND', severity: 'error', status: 5, about: 'out_netdev tpB' },
    message: /there is no such interface; there is tapB/,
    healthy: {},
    faulty: { args: ['--in-netdev=tapA', '--out-netdev', 'tpB'] },
  })
  t.is(fix, 'tapferry doctor --in-netdev=tapA --json --out-netdev=tapB')
})

labTest('a name like no other', async (t, lab) => {
  await twoTaps(lab)
  const { fix, note } = await finds(t, lab, {
    ...{ code: 'NETDEV_NOT_FOUND', severity: 'error', status: 5 },
    message: /there is no interface of that name in this network namespace/,
    healthy: {},
    faulty: { args: ['--in-netdev=tapA', '--out-netdev=elsewhere0'] },
  })
  t.is(fix, undefined)
  t.regex(note ?? '', /tapferry netdevs/)
})

labTest('out_netdev is in another network namespace, one with a name', async (t, lab) => {
  const elsewhere = await orSkip(t, namedLab(t))
  if (elsewhere === undefined) return
  await twoTaps(lab)
  await elsewhere.lab.ask('tap', { name: 'tapFar' })
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'NETDEV_NOT_FOUND', severity: 'error', status: 5, about: 'out_netdev tapFar' },
    message: /none of that name here, but one in network namespace tapferry-\d+/,
    healthy: {},
    faulty: { args: ['--in-netdev=tapA', '--out-netdev=tapFar'] },
  })
  t.regex(fix ?? '', / --out-netns=tapferry-\d+$/)
})

labTest('in_netdev is in another network namespace, and out_netdev stays where it is', async (t, lab) => {
  const elsewhere = await orSkip(t, namedLab(t))
  if (elsewhere === undefined) return
  await twoTaps(lab)
  await elsewhere.lab.ask('tap', { name: 'tapFar' })
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'NETDEV_NOT_FOUND', severity: 'error', status: 5, about: 'in_netdev tapFar' },
    message: /none of that name here, but one in network namespace tapferry-\d+/,
    healthy: {},
    faulty: { args: ['--in-netdev=tapFar', '--out-netdev=tapB'] },
  })
  t.regex(fix ?? '', / --netns=tapferry-\d+ --out-netns=\/proc\/self\/ns\/net$/)
})

labTest('a network namespace that there is not', async (t, lab) => {
  await twoTaps(lab)
  await finds(t, lab, {
    ...{ code: 'NETNS_NOT_FOUND', severity: 'error', status: 5, about: 'out_netdev tapB' },
    message: /network namespace/,
    healthy: {},
    faulty: { args: [...ENDS, '--out-netns=nowhere'] },
  })
})

labTest('an interface without Ethernet headers', async (t, lab) => {
  await twoTaps(lab)
  await shell(lab, 'ip tuntap add dev tun0 mode tun')
  const { note } = await finds(t, lab, {
    ...{ code: 'NETDEV_NOT_ETHERNET', severity: 'error', status: 5, about: 'in_netdev tun0' },
    message: /no Ethernet header/,
    healthy: {},
    faulty: { args: ['--in-netdev=tun0', '--out-netdev=tapB'] },
  })
  t.regex(note ?? '', /TAP, veth, bridge or network card/)
})

labTest('a bridge port that does not forward', async (t, lab) => {
  await twoTaps(lab)
  await lab.ask('bridge', { name: 'br0', ports: ['tapA'] })
  await findsAndMends(t, lab, {
    ...{ code: 'BRIDGE_PORT_CLOSED', severity: 'error', status: 5, about: 'in_netdev tapA' },
    message: /bridge br0 does not forward through it: the port is disabled/,
    seed: () => shell(lab, 'bridge link set dev tapA state 0'),
  })
})

labTest('a bridge port that spanning tree will open', async (t, lab) => {
  await twoTaps(lab)
  await shell(lab, 'ip link add br0 type bridge stp_state 1 && ip link set br0 up')
  const { fix, note } = await finds(t, lab, {
    ...{ code: 'BRIDGE_PORT_CLOSED', severity: 'warning', status: 0 },
    message: /the port is (listening|learning)/,
    seed: () => shell(lab, 'ip link set dev tapA master br0'),
  })
  t.is(fix, undefined)
  t.regex(note ?? '', /opens it by itself/)
})

labTest('a TAP with a short queue', async (t, lab) => {
  await twoTaps(lab)
  await findsAndMends(t, lab, {
    ...{ code: 'QUEUE_SHORT', severity: 'warning', status: 0 },
    message: /its queue holds 10 frames/,
    seed: () => lab.ask('link', { name: 'tapB', txqueuelen: 10 }),
  })
})

labTest('a queueing discipline that limits', async (t, lab) => {
  await twoTaps(lab)
  await findsAndMends(t, lab, {
    ...{ code: 'QDISC_LIMITS', severity: 'warning', status: 0 },
    message: /its queueing discipline tbf may delay or drop/,
    seed: () => shell(lab, 'tc qdisc add dev tapB root tbf rate 1mbit burst 10kb latency 50ms'),
  })
})
