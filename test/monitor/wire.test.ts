import test from 'ava'
import fc from 'fast-check'
import { Framer, type JsonObject, WireError } from '../../ts/monitor/wire.ts'

/** All objects of the stream, cut into chunks at the given places. */
function frame(bytes: Uint8Array, cuts: readonly number[]): JsonObject[] {
  const framer = new Framer()
  const places = [...cuts].sort((a, b) => a - b)
  const objects: JsonObject[] = []
  let from = 0
  for (const place of [...places, bytes.length]) {
    objects.push(...framer.push(bytes.subarray(from, place)))
    from = place
  }
  return objects
}

test('objects arrive whole and in order wherever the stream is cut', t => {
  const object = fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue({ noUnicodeString: false }))
  fc.assert(
    fc.property(fc.array(fc.tuple(object, fc.boolean()), { maxLength: 5 }), fc.gen(), (sent, gen) => {
      const text = sent.map(([value, pretty]) => JSON.stringify(value, null, pretty ? 4 : 0)).join('\r\n')
      const bytes = Buffer.from(text)
      const cuts = gen(fc.array, fc.nat({ max: bytes.length }), { maxLength: 20 })
      const expected = sent.map(([value]) => JSON.parse(JSON.stringify(value)))
      t.deepEqual(frame(bytes, cuts), expected)
    }),
  )
})

test('every single byte may be a chunk, inside UTF-8 and escapes too', t => {
  const text = '{"a":"€ \\" \\\\ } { 😀","b":{"c":[{}]}}\r\n{"d":1}'
  const bytes = Buffer.from(text)
  const everywhere = Array.from(bytes, (_, index) => index)
  t.deepEqual(frame(bytes, everywhere), [{ a: '€ " \\ } { 😀', b: { c: [{}] } }, { d: 1 }] as object[])
})

test('what is complete before nonsense is still delivered', t => {
  const framer = new Framer()
  const objects = framer.push(Buffer.from('{"id":1}\r\nHTTP/1.1 400 Bad Request\r\nConnection: close\r\n'))
  t.deepEqual(objects.next().value, { id: 1 })
  const error = t.throws(() => objects.next(), { instanceOf: WireError })
  t.is(error.sample, 'HTTP/1.1 400 Bad Request')
})

test('broken JSON between braces is an error with a printable sample', t => {
  const framer = new Framer()
  const error = t.throws(() => [...framer.push(Buffer.from('{"a": tru\x07}'))], { instanceOf: WireError })
  t.is(error.sample, '{"a": tru.}')
})

test('a message above the limit is refused, not kept', t => {
  const framer = new Framer(100)
  t.deepEqual([...framer.push(Buffer.from(`{"a":"${'x'.repeat(92)}"}`))].length, 1)
  t.deepEqual([...framer.push(Buffer.from(`{"a":"${'x'.repeat(90)}`))], [])
  t.throws(() => [...framer.push(Buffer.from('xxxxx'))], {
    instanceOf: WireError,
    message: /above 100 bytes/,
  })
})
