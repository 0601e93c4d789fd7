// 2^t by vectors: t = n + f with n whole and |f| <= 1/2, a polynomial for 2^f, and n put into the exponent.
//
// The polynomials are minimax fits of the relative error with 2^0 = 1 exactly: 2e-9 for float, 4e-18 for double.
// The result is 0 below the smallest normal number; NaN stays NaN. Exponents are 127 (1023) at most: a soft-max has none
// above 0.
#ifndef STRF_CPU_EXP2_H
#define STRF_CPU_EXP2_H

#include "level.h"

namespace {

template <class T>
struct Exp2;

template <>
struct Exp2<float> {
  using Bits = int32_t;
  static constexpr float kLowest = -126.0f;
  static constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: added and subtracted, it leaves the nearest whole number
  static constexpr int kMantissa = 23, kBias = 127, kTerms = 6;
  static constexpr float kCoefficient[kTerms] = {0.00015353361786394391f, 0.0013398874378234948f,
                                                 0.0096184373584388200f,  0.055503324712571866f,
                                                 0.24022647913618694f,    0.69314720285498258f};
};

template <>
struct Exp2<double> {
  using Bits = int64_t;
  static constexpr double kLowest = -1022.0;
  static constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr int kMantissa = 52, kBias = 1023, kTerms = 11;
  static constexpr double kCoefficient[kTerms] = {
      4.4347689286262758828e-10, 7.0737831844583162688e-9, 1.017819958644790862e-7, 1.3215435282680663139e-6,
      1.5252733493095939758e-5,  1.5403530457111361421e-4, 1.3333558146774648946e-3, 9.6181291075941206394e-3,
      5.5504108664820083129e-2,  2.4022650695910131259e-1, 6.9314718055994532581e-1};
};

// 2^(base * t) for base > 0.
template <class T>
__attribute__((always_inline)) inline Vec<T> exp2_of(T base, Vec<T> t) {
  using Table = Exp2<T>;
  typedef typename Table::Bits Whole __attribute__((vector_size(kVectorBytes)));
  const Vec<T> lowest = broadcast<T>(Table::kLowest / base);
  const auto vanishes = t < lowest;  // a NaN is not
  t = base * (vanishes ? Vec<T>{} : t);
  const Vec<T> shifted = t + Table::kRound;
  const Vec<T> f = t - (shifted - Table::kRound);
  Vec<T> sum = broadcast<T>(Table::kCoefficient[0]);
#pragma GCC unroll 16
  for (int term = 1; term < Table::kTerms; ++term) sum = sum * f + Table::kCoefficient[term];
  sum = sum * f + T(1);
  Whole bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << Table::kMantissa) + (static_cast<typename Table::Bits>(Table::kBias) << Table::kMantissa);
  Vec<T> power;
  __builtin_memcpy(&power, &bits, sizeof power);
  return vanishes ? Vec<T>{} : sum * power;
}

}  // namespace

#endif
